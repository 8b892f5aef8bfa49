"""Where a machine's cost book lives between studies: one small JSON file for all machines that share a home.

``BAKEOFF_COST_BOOK`` names another file, or is ``off``: then nothing is read or written. A missing, foreign or damaged file is the
same as none, because shipped guesses always exist; a failed write is nobody's loss.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bakeoff.schema.costs import CostBook

PLACE = "BAKEOFF_COST_BOOK"
_OFF = frozenset({"off", "0", "none", ""})
_VERSION = 1
_MACHINES = 16
"""Machines kept, the latest written last; a home that thousands of short-lived machines share does not grow for ever."""


def place(home: Path) -> Path | None:
    """Return the file, None when the environment says there is to be none."""
    wanted = os.environ.get(PLACE)
    if wanted is None:
        return home / "costs.json"
    return None if wanted.strip().lower() in _OFF else Path(wanted).expanduser()


def read(path: Path | None, machine: str) -> CostBook | None:
    """Return what is known of this machine, None when nothing is."""
    if path is None:
        return None
    try:
        return CostBook.model_validate(_machines(path)[machine])
    except (KeyError, ValidationError):
        return None


def write(path: Path | None, machine: str, book: CostBook) -> bool:
    """Keep the book of this machine beside those of the others, and say whether that worked."""
    if path is None:
        return False
    machines = _machines(path)
    machines.pop(machine, None)
    kept = dict(list(machines.items())[1 - _MACHINES :])
    document = {"version": _VERSION, "machines": {**kept, machine: book.model_dump(mode="json")}}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        return False
    return True


def _machines(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or found.get("version") != _VERSION or not isinstance(found.get("machines"), dict):
        return {}
    return dict(found["machines"])
