"""How verbs talk: one JSON document or text, remarks beside it, exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bakeoff.schema.base import Record
from bakeoff.schema.errors import UserError

OK, INFEASIBLE, UNTOLD = 0, 3, 4


def emit(arguments: argparse.Namespace, document: Any, text: str) -> None:  # noqa: ANN401 - any JSON document
    """Print one JSON document, or the text for people."""
    if arguments.json:
        plain = document.model_dump(mode="json") if isinstance(document, Record) else document
        print(json.dumps(plain, ensure_ascii=False, indent=2))
    else:
        print(text)


def say(text: str) -> None:
    """Print a remark that is not the result."""
    print(text, file=sys.stderr)


def study_folder(arguments: argparse.Namespace) -> Path:
    """Return the study's folder.

    Raises:
        UserError: there is none.

    """
    path = Path(arguments.study)
    if not path.is_dir():
        what = "no such study folder"
        raise UserError(what, got=str(path), try_="bakeoff run SPEC --out STUDY makes one")
    return path
