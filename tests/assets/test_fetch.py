from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asset_fakes import CONTENT, copier, make_wheel, recipe_for

from bakeoff import assets
from bakeoff.assets import cache
from bakeoff.schema.errors import UnavailableError, UserError


@pytest.fixture
def wheel(tmp_path):
    return make_wheel(
        tmp_path / "toy-1.0-py3-none-any.whl", {"toy/data.csv": CONTENT, "toy/evil.py": b"raise SystemExit"}
    )


@pytest.fixture
def toy(monkeypatch, home, wheel):
    """Install a recipe and a download stand-in; returns a function that swaps the recipe, and the list of downloads."""
    calls: list[str] = []

    def use(**changes):
        recipe = recipe_for(wheel, **changes)
        monkeypatch.setattr(assets, "recipes", lambda: {"toy": recipe})
        return recipe

    monkeypatch.setattr(assets, "download", copier(wheel, calls))
    use()
    return use, calls


def leftovers(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if not path.name.endswith(".lock"))


def test_fetch_makes_a_whole_folder(toy, home):
    assert assets.find("toy") is None
    folder = assets.fetch("toy")
    assert folder == home / "toy" == assets.find("toy") == assets.require("toy")
    assert (folder / "data.csv").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["asset.json", "data.csv"]
    assert leftovers(home) == ["toy"]
    assert assets.verify("toy") == []


def test_the_card_tells_origin_terms_and_hashes(toy):
    card = json.loads((assets.fetch("toy") / "asset.json").read_text(encoding="utf-8"))
    assert card["name"] == "toy"
    assert card["licence"] == "MIT"
    assert card["title"]["zh"] == "玩具"
    assert card["sources"][0]["version"] == "1.0"
    assert card["files"]["data.csv"]["bytes"] == len(CONTENT)
    assert len(card["files"]["data.csv"]["sha256"]) == 64


def test_fetch_is_idempotent(toy):
    _, calls = toy
    assert assets.fetch("toy") == assets.fetch("toy")
    assert calls == ["toy"]


def test_progress_is_told(toy):
    seen: list[tuple[str, float]] = []
    assets.fetch("toy", lambda stage, share: seen.append((stage, share)))
    assert seen[-1] == ("preparing toy", 1.0)


def test_unknown_names_suggest_a_near_one(toy):
    for call in (assets.find, assets.require, assets.fetch, assets.verify):
        with pytest.raises(UserError, match="bakeoff fetch toy"):
            call("toi")


def test_require_names_the_command(toy):
    with pytest.raises(UnavailableError, match="bakeoff fetch toy"):
        assets.require("toy")


def test_a_wrong_archive_is_refused_and_nothing_is_left(toy, home, wheel, monkeypatch):
    other = make_wheel(wheel.with_name("other.whl"), {"toy/data.csv": CONTENT, "toy/evil.py": b"raise SystemExi!"})
    assert other.stat().st_size == wheel.stat().st_size
    monkeypatch.setattr(assets, "download", copier(other))
    with pytest.raises(UserError, match="not the archive this recipe was written for"):
        assets.fetch("toy")
    assert leftovers(home) == []


def test_a_wrong_product_is_refused(toy, home):
    use, _ = toy
    use(produced_sha256="f" * 64)
    with pytest.raises(UserError, match="came out different"):
        assets.fetch("toy")
    assert leftovers(home) == []


def test_a_missing_product_is_refused(toy, home):
    use, _ = toy
    use(prepare=lambda _downloads, _out: None)
    with pytest.raises(UserError, match="promised file"):
        assets.fetch("toy")
    assert leftovers(home) == []


def test_a_new_revision_replaces_the_old_folder(toy, home):
    use, calls = toy
    assets.fetch("toy")
    use(revision=2)
    assert assets.find("toy") is None
    assert assets.verify("toy") == ["asset.json"]
    assert assets.fetch("toy") == home / "toy"
    assert calls == ["toy", "toy"]
    assert leftovers(home) == ["toy"]


@pytest.mark.parametrize("damage", ["truncate", "delete", "card", "card-json"])
def test_a_damaged_folder_is_not_found_and_made_again(toy, damage):
    folder = assets.fetch("toy")
    target = folder / ("asset.json" if damage.startswith("card") else "data.csv")
    if damage in {"truncate", "card"}:
        target.write_bytes(target.read_bytes()[:-5])
    elif damage == "card-json":
        target.write_text('{"files": 3}', encoding="utf-8")
    else:
        target.unlink()
    assert assets.find("toy") is None
    assert assets.verify("toy") != []
    assert assets.fetch("toy") == folder
    assert assets.verify("toy") == []


def test_verify_reads_every_byte(toy):
    folder = assets.fetch("toy")
    (folder / "data.csv").write_bytes(CONTENT.replace(b"yes", b"yeS"))
    assert assets.find("toy") == folder  # same size: the quick look cannot tell
    assert assets.verify("toy") == ["data.csv"]


def test_too_little_space_is_said_before_downloading(toy, home, monkeypatch):
    _, calls = toy
    monkeypatch.setattr(assets.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 10})())
    with pytest.raises(UserError, match="too little disk space"):
        assets.fetch("toy")
    assert calls == []


def test_a_disk_that_fills_up_is_explained(toy, home):
    def full(_downloads: Path, _out: Path) -> None:
        raise OSError(28, "No space left on device")

    use, _ = toy
    use(prepare=full)
    with pytest.raises(UserError, match="too little disk space"):
        assets.fetch("toy")
    assert leftovers(home) == []


def test_a_folder_nobody_may_write_is_explained(toy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path / "file"))
    assert assets.find("toy") is None
    with pytest.raises(UserError, match="BAKEOFF_HOME"):
        assets.fetch("toy")


def test_the_cache_is_in_the_home_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("BAKEOFF_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.root() == tmp_path / ".cache" / "bakeoff" / "assets"


RACER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from dataclasses import replace
from asset_fakes import copier, recipe_for
from bakeoff import assets
wheel, log, wait = Path({wheel!r}), Path({log!r}), float(sys.argv[1])
recipe = recipe_for(wheel)
def slow(downloads, out):
    with log.open("a") as file:
        file.write("prepared\\n")
    time.sleep(wait)
    recipe.prepare(downloads, out)
changed = replace(recipe, prepare=slow)
assets.recipes = lambda: {{"toy": changed}}
assets.download = copier(wheel)
print(assets.fetch("toy"))
"""


@pytest.fixture
def racer(home, wheel, tmp_path):
    log = tmp_path / "log"
    code = RACER.format(here=str(Path(__file__).parent), wheel=str(wheel), log=str(log))

    def start(wait: float) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code, str(wait)], stdout=subprocess.PIPE, text=True)

    return start, log


def test_processes_that_fetch_at_once_prepare_once(racer, home):
    start, log = racer
    running = [start(0.5) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == [str(home / "toy")] * 3
    assert [process.returncode for process in running] == [0, 0, 0]
    assert log.read_text(encoding="utf-8") == "prepared\n"
    assert leftovers(home) == ["toy"]


def test_a_killed_fetch_neither_blocks_nor_leaves_anything(racer, home):
    start, log = racer
    victim = start(60)
    deadline = time.monotonic() + 30
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert [name for name in leftovers(home) if name.startswith(".partial-toy-")]
    follower = start(0)
    assert follower.communicate(timeout=60)[0].strip() == str(home / "toy")
    assert leftovers(home) == ["toy"]
