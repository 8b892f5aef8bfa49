"""Fetch assets by name: ``python scripts/fetch_assets.py NAME ...``. What is already there is left alone."""

from __future__ import annotations

import sys

from bakeoff import assets
from bakeoff.schema.errors import BakeoffError


class Progress:
    """Prints a stage when it begins, and its share on a terminal."""

    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, stage: str, share: float) -> None:
        """Show ``stage``, ``share`` of it done (0 to 1)."""
        if sys.stderr.isatty():
            print(f"\r\x1b[K  {stage} {share:.0%}", end="", file=sys.stderr, flush=True)
        elif stage != self._stage:
            print(f"  {stage}", file=sys.stderr, flush=True)
        self._stage = stage


def main(names: list[str]) -> int:
    """Fetch every name; 0 when all are there, else the error's exit code."""
    for name in names:
        try:
            if assets.find(name) is not None:
                continue
            recipe = assets.recipes()[name]
            size = recipe.download_bytes / 1e6
            print(f"{name}: {size:.0f} MB to download; licence {recipe.licence}", file=sys.stderr)
            folder = assets.fetch(name, Progress())
            print(f"\r\x1b[K  in {folder}" if sys.stderr.isatty() else f"  in {folder}", file=sys.stderr)
        except BakeoffError as error:
            print(f"\n{error}", file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
