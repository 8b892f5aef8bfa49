"""``python -m bakeoff.serving BUNDLE``: the server alone, as the image of a bundle starts it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from bakeoff.schema.errors import BakeoffError
from bakeoff.serving.limits import Limits
from bakeoff.serving.server import serve


def parser() -> argparse.ArgumentParser:
    """Return the parser; every limit is a flag of its own name."""
    parse = argparse.ArgumentParser(prog="python -m bakeoff.serving", description="Serve a bundle over HTTP.")
    parse.add_argument("bundle", type=Path, help="folder written by 'bakeoff ship'")
    parse.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback only)")
    parse.add_argument("--port", type=int, default=8000, help="TCP port; 0 takes a free one")
    parse.add_argument("--threads", type=int, default=None, help="threads of the model (default: the contract's)")
    for field in fields(Limits):
        kind = float if isinstance(field.default, float) else int
        parse.add_argument(
            f"--{field.name.replace('_', '-')}", type=kind, default=field.default, help=f"default {field.default}"
        )
    return parse


def _announce(url: str) -> None:
    """Write the address to standard output, the only thing that goes there: whoever started the server may read it."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; return the exit code (0 stopped by a signal, 2 the user's mistake)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    given = parser().parse_args(arguments)
    limits = Limits(**{field.name: getattr(given, field.name) for field in fields(Limits)})
    try:
        serve(
            given.bundle, host=given.host, port=given.port, threads=given.threads, limits=limits,
            announce=_announce,
        )  # fmt: skip
    except BakeoffError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
