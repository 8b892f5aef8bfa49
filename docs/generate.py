"""Write the reference pages, and copy files into the pages that show them: ``python -m docs.generate [--check]``.

A page that shows a file has ``<!-- file: PATH -->`` before a code block; the block's content is replaced by the file's.
``--check`` writes nothing and exits with 1 when a page is stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from docs._reference.api import api_page
from docs._reference.cli import cli_page
from docs._reference.decision import decision_page
from docs._reference.formats import bundle_page, events_page, exit_codes_page, ledger_page
from docs._reference.http import http_page
from docs._reference.listings import assets_page, catalogue_page, price_book_page
from docs._reference.spec import spec_page
from docs._reference.text import LANGUAGES, Tongue

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES: dict[str, Callable[[Tongue], str]] = {
    "cli": cli_page, "spec": spec_page, "decision": decision_page, "catalogue": catalogue_page, "assets": assets_page,
    "price-book": price_book_page, "exit-codes": exit_codes_page, "events": events_page, "ledger": ledger_page,
    "bundle": bundle_page, "http": http_page, "api": api_page,
}  # fmt: skip
_SHOWN = re.compile(r"(?P<head><!-- file: (?P<path>\S+) -->\n```\w*\n)(?:.*?\n)??```\n", re.DOTALL)


def render() -> tuple[dict[Path, str], list[str], set[str]]:
    """Return every generated page by path, the sentences that lack Chinese, and every key of the table that was used."""
    texts: dict[Path, str] = {}
    missing: list[str] = []
    used: set[str] = set()
    for name, make in PAGES.items():
        for language in LANGUAGES:
            tongue = Tongue(language)
            texts[REFERENCE / f"{name}{'' if language == 'en' else '.zh'}.md"] = make(tongue)
            missing += [text for text in tongue.missing if text not in missing]
            used |= tongue.used
    return texts, missing, used


def written_by_hand() -> Iterator[Path]:
    """Yield the Markdown pages people write."""
    generated = {REFERENCE / f"{name}{end}.md" for name in PAGES for end in ("", ".zh")}
    yield from sorted(ROOT.glob("*.md"))
    yield from sorted(
        path
        for folder in ("docs", "examples", "changelog.d")
        for path in (ROOT / folder).rglob("*.md")
        if path not in generated
    )


def with_files(text: str) -> str:
    """Return a page with the files it shows as they are now."""

    def fresh(found: re.Match[str]) -> str:
        return f"{found['head']}{(ROOT / found['path']).read_text(encoding='utf-8').strip(chr(10))}\n```\n"

    return _SHOWN.sub(fresh, text)


def stale() -> dict[Path, str]:
    """Return what every page that is out of date should say."""
    texts, _, _ = render()
    found = {
        path: text for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path in written_by_hand():
        now = path.read_text(encoding="utf-8")
        if with_files(now) != now:
            found[path] = with_files(now)
    return found


def main() -> int:
    """Write what is out of date, or only name it."""
    found = stale()
    check = "--check" in sys.argv[1:]
    for path, text in found.items():
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(text, encoding="utf-8")
    missing = render()[1]
    for text in missing:
        print(f"no Chinese in docs/_reference/words.json: {text}")
    return 1 if missing or (check and found) else 0


if __name__ == "__main__":
    sys.exit(main())
