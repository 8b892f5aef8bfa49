"""What every risk check owes, generated over all that are found: ids are ``plugin:check``."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff import registry
from bakeoff.risk._common import level
from bakeoff.risk.base import RiskContext
from bakeoff.schema.measurement import Finding
from bakeoff.schema.plugin import CheckTraits
from tests.risk import worlds

PLUGINS = registry.plugins("risk")
EXPECTED = {
    "calibration", "data_leaves", "licences", "membership_inference", "personal_data", "robustness", "seed_stability", "subgroups",
    "unsafe_files",
}  # fmt: skip
STANDARD = re.compile(
    r"^(NIST AI RMF (GOVERN|MAP|MEASURE|MANAGE) \d\.\d{1,2}|PIPL Art\. \d{1,2}|生成式人工智能服务管理暂行办法 第[一二三四五六七八九十]+条"
    r"|OWASP ML Top 10 2023 ML(0[1-9]|10))$"
)
CHINESE = re.compile("[\u4e00-\u9fff]")
each = pytest.mark.parametrize("name", sorted(PLUGINS))


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RiskContext]:
    """A text and a table, and the odd cases every check must survive."""
    root = tmp_path_factory.mktemp("risk")
    text, table = worlds.text(root / "text"), worlds.table(root / "table")
    empty = replace(text, held_out=replace(text.held_out, rows=[], labels=text.held_out.labels[:0]),
                    held_out_probabilities=text.held_out_probabilities[:0])  # fmt: skip
    small = replace(text, held_out=replace(text.held_out, rows=text.held_out.rows[:5], labels=text.held_out.labels[:5]),
                    held_out_probabilities=text.held_out_probabilities[:5])  # fmt: skip
    return {
        "text": text, "table": table, "no rows": empty, "five rows": small, "not loaded": replace(text, classifier=None),
        "remote": worlds.with_variant(text, remote=True, trains=False), "prompted": worlds.with_variant(text, trains=False),
        "personal": worlds.with_personal_data(text),
    }  # fmt: skip


def run(name: str, context: RiskContext) -> list[Finding]:
    """Run one check."""
    return list(PLUGINS[name].run(context))


def test_the_checks_of_the_product_are_all_there() -> None:
    assert set(PLUGINS) >= EXPECTED


@each
def test_traits_are_complete(name: str) -> None:
    traits: CheckTraits = PLUGINS[name].traits
    assert set(traits.tasks) == {"text-classification", "tabular-classification"}
    assert CHINESE.search(traits.label.zh)
    assert not CHINESE.search(traits.label.en)
    assert traits.scope in {"candidate", "data"}
    assert traits.standards
    for standard in traits.standards:
        assert STANDARD.match(standard), standard


@each
def test_every_finding_is_complete_in_both_languages(name: str, contexts: dict[str, RiskContext]) -> None:
    for case, context in contexts.items():
        findings = run(name, context)
        assert findings, case
        for finding in findings:
            assert finding.check == name
            assert finding.candidate in {context.candidate.id, None}
            assert finding.level == level(finding.likelihood, finding.impact)
            assert set(finding.standards) <= set(PLUGINS[name].traits.standards)
            for words in (finding.title, finding.observed, finding.mitigation, finding.residual):
                assert CHINESE.search(words.zh), (case, words.zh)
                assert len(words.en) > 3
            assert not CHINESE.search(finding.mitigation.en)


@each
def test_what_was_measured_has_numbers_and_what_was_not_says_why(name: str, contexts: dict[str, RiskContext]) -> None:
    for context in contexts.values():
        for finding in run(name, context):
            if finding.status in {"not_applicable", "not_measured"}:
                assert not finding.measurements
            for number in finding.measurements:
                assert number.value is not None
                assert np.isfinite(number.value)
                assert number.name
            names = [number.name for number in finding.measurements]
            assert len(set(names)) == len(names)


@each
def test_the_same_seed_gives_the_same_finding(name: str, contexts: dict[str, RiskContext]) -> None:
    for case in ("text", "table"):
        assert run(name, contexts[case]) == run(name, contexts[case])


@each
def test_findings_survive_a_json_round_trip(name: str, contexts: dict[str, RiskContext]) -> None:
    for finding in run(name, contexts["text"]):
        assert Finding.model_validate_json(finding.model_dump_json()) == finding


@each
def test_no_row_is_repeated_in_a_finding(name: str, contexts: dict[str, RiskContext]) -> None:
    """Findings go into reports: the content of a row must not."""
    text = "".join(finding.model_dump_json() for finding in run(name, contexts["text"]))
    rows: list[Any] = [*contexts["text"].train.rows, *contexts["text"].held_out.rows]
    assert not [row for row in rows if row["text"] in text]


@each
def test_declaring_a_check_imports_nothing_heavy(name: str) -> None:
    module = importlib.import_module(f"bakeoff.risk.{name}")
    assert module.PLUGIN is PLUGINS[name]
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    imported = {
        alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    } | {node.module.split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}  # fmt: skip
    assert imported <= {"bakeoff", "numpy", *sys.stdlib_module_names}


def test_listing_the_checks_loads_no_library_beyond_the_core() -> None:
    program = (
        "import sys; from bakeoff import registry; registry.plugins('risk');"
        "print(*{'sklearn','torch','onnx','scipy','lightgbm','onnxruntime','pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
