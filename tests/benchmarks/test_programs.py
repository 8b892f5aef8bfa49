"""Every benchmark starts: what ``make bench-NAME`` runs can be imported and knows its options; a short one is run."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import ROOT, fault

NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_it_starts(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    main: Callable[[], int] = module.main
    assert module.__doc__
    if not hasattr(module, "argparse"):  # nothing to ask for: it would measure at once
        return
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_all_are_here() -> None:
    assert {"serve", "fault", "fuzz", "shard", "tamper", "load"} <= set(NAMES)


@pytest.mark.slow
def test_servers_are_started_asked_and_ended_as_the_figures_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("tokenizers")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fault.main(["--parts", "sigterm", "start", "--rounds", "1"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["benchmark"] == "fault"
    assert found["sigterm"]["answered"] > 0
    assert found["met"]["sigterm: nothing lost"]
    assert found["start"]["rounds"] == 2
    assert {name.partition(":")[0] for name in found["met"]} == {"sigterm", "start"}
