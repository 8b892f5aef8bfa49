"""Keep what studies of the examples decided, and pictures of the demo's report: ``python -m docs.demo [STUDY ...]``.

Needs finished studies (default ``build/demo/study``) and, for the pictures, a Chromium on the path.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bakeoff import Study
from bakeoff.report import terminal

ROOT = Path(__file__).parents[1]
OUT, IMAGES = ROOT / "docs" / "demo", ROOT / "docs" / "images"
SIZES = {"desktop": (1280, 1600), "phone": (390, 1400)}


def main() -> int:
    """Write the texts of every study named and, where a browser is found, the pictures of the demo's."""
    for directory in [Path(name) for name in sys.argv[1:]] or [ROOT / "build" / "demo" / "study"]:
        study = Study.open(directory)
        decision = study.decide()
        OUT.mkdir(exist_ok=True)
        for language in ("en", "zh"):
            text = terminal(decision, language)
            (OUT / f"{decision.study}.{language}.txt").write_text(text.rstrip() + "\n", encoding="utf-8")
            print(text)
        if decision.study == "chinese-reviews":
            _pictures(study)
    return 0


def _pictures(study: Study) -> None:
    browser = next((found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), None)
    if browser is None:
        print("no Chromium: no pictures")
        return
    IMAGES.mkdir(exist_ok=True)
    for language, end in (("en", ""), ("zh", ".zh")):
        page = study.report(language, "html")
        for name, size in SIZES.items():
            _shoot(browser, page, IMAGES / f"report-{name}{end}.png", size)


def _shoot(browser: str, page: str, path: Path, size: tuple[int, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "report.html")
        source.write_text(page, encoding="utf-8")
        subprocess.run(
            [
                browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb",
                f"--window-size={size[0]},{size[1]}", f"--screenshot={path}", source.as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
