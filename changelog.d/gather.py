"""Gather the fragments: ``python changelog.d/gather.py`` prints, with VERSION and DATE it writes CHANGELOG.md."""  # noqa: INP001

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
KINDS = ("added", "changed", "fixed", "removed", "security")
_NAME = re.compile(rf"^(?P<issue>\d+|\+[\w-]+)\.(?P<kind>{'|'.join(KINDS)})(\.\d+)?\.md$")


def fragments() -> dict[str, list[tuple[str, str, Path]]]:
    """Return kind → (issue, text, file) of every fragment, by issue.

    Raises:
        SystemExit: a file is not named as the README says, or is empty.

    """
    found: dict[str, list[tuple[str, str, Path]]] = {kind: [] for kind in KINDS}
    for path in sorted(HERE.glob("*.md")):
        if path.name == "README.md":
            continue
        named = _NAME.match(path.name)
        text = path.read_text(encoding="utf-8").strip()
        if not named or not text:
            raise SystemExit(f"{path.name}: not a fragment; see changelog.d/README.md")
        found[named["kind"]].append((named["issue"], text, path))
    return found


def written(found: dict[str, list[tuple[str, str, Path]]]) -> str:
    """Return the fragments as Markdown, one list per kind."""
    blocks = []
    for kind, entries in found.items():
        if entries:
            lines = [
                "- " + text.replace("\n\n", "\n\n  ") + ("" if issue.startswith("+") else f" (#{issue})")
                for issue, text, _ in entries
            ]
            blocks.append(f"### {kind.capitalize()}\n\n" + "\n".join(lines))
    return "\n\n".join(blocks)


def main(arguments: list[str]) -> None:
    """Print, or write and remove."""
    found = fragments()
    text = written(found)
    if len(arguments) != 2:
        sys.stdout.write(f"{text or 'no fragments'}\n")
        return
    version, date = arguments
    log = HERE.parent / "CHANGELOG.md"
    head, mark, rest = log.read_text(encoding="utf-8").partition("## Unreleased\n")
    older = rest[rest.index("\n## ") :] if "\n## " in rest else "\n"
    log.write_text(f"{head}{mark}\nNothing yet.\n\n## {version} ({date})\n\n{text}\n{older}", encoding="utf-8")
    for entries in found.values():
        for _, _, path in entries:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
