"""``python -P -m bakeoff.serving BUNDLE``: the server alone, as the image of a bundle starts it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from bakeoff.flags import add_access, add_computing, add_endpoints
from bakeoff.runtimes.keys import Keys
from bakeoff.schema.errors import BakeoffError
from bakeoff.serving.access import access_of
from bakeoff.serving.engine import Computing
from bakeoff.serving.limits import Limits
from bakeoff.serving.server import serve


def parser() -> argparse.ArgumentParser:
    """Return the parser; every limit is a flag of its own name."""
    parse = argparse.ArgumentParser(prog="python -P -m bakeoff.serving", description="Serve a bundle over HTTP.")
    parse.add_argument("bundle", type=Path, help="folder written by 'bakeoff ship'")
    parse.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback only)")
    parse.add_argument("--port", type=int, default=8000, help="TCP port; 0 takes a free one")
    add_computing(parse)
    add_access(parse)
    add_endpoints(parse)
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
    try:
        limits = Limits(**{field.name: getattr(given, field.name) for field in fields(Limits)})
        Keys.given(allowed=tuple(given.allow_endpoint)).export()
        serve(
            given.bundle, host=given.host, port=given.port, limits=limits, announce=_announce,
            computing=Computing(threads=given.threads, replicas=given.replicas, mode=given.compute), access=access_of(given),
        )  # fmt: skip
    except BakeoffError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
