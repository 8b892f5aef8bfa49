"""Files that released versions wrote stay readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakeoff.report import render
from bakeoff.schema import Contract, Decision, Manifest
from bakeoff.schema.loading import load_spec

VERSIONS = sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name[0].isdigit())


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_everything_a_version_wrote_is_read(version: Path) -> None:
    assert load_spec(version / "spec.yaml").name
    decision = Decision.model_validate_json((version / "decision.json").read_text(encoding="utf-8"))
    assert decision.recommended is not None
    assert render(decision, "zh", "md")
    assert Contract.model_validate_json((version / "contract.json").read_text(encoding="utf-8")).promises
    assert Manifest.model_validate_json((version / "manifest.json").read_text(encoding="utf-8")).files
