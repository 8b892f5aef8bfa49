"""A specification file is read, or every problem in it is named at once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.schema import Spec, SpecError, UserError
from bakeoff.schema.loading import load_spec, override, parse_spec, spec_paths
from tests.schema.texts import DESIGN, MINIMAL


def problems(text: str, **overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "bakeoff.yaml", {key.replace("__", "."): value for key, value in overrides.items()})
    assert all(problem.where for problem in caught.value.problems)
    return str(caught.value)


def test_the_four_line_specification_runs_on_defaults() -> None:
    spec = parse_spec(MINIMAL)
    assert spec.preset == "standard"
    assert spec.requirements.quality.metric == "macro_f1"


def test_the_specification_of_the_design_is_read_in_base_units() -> None:
    spec = parse_spec(DESIGN)
    assert spec.requirements.latency.p95 == 0.05
    assert spec.requirements.memory.max == 2**30
    assert spec.traffic.volume == pytest.approx(200_000 / 86_400)
    assert spec.traffic.growth == pytest.approx(0.2)
    assert spec.decision.indifference.cost == 0.02


def test_every_problem_is_listed_with_line_field_and_fix_in_file_order() -> None:
    text = problems(
        "name: review sentiment\ntask: text-clasification\ndata:\n  file: r.csv\n  targt: label\n"
        "requirements:\n  quality: {floor: 1.2}\n  latency: {p50: 80ms, p95: 50ms}\nbudget: {trials: [1], time: 20}\nfloor: 0.8\n"
    )
    for expected in (
        "bakeoff.yaml:1 name", "try: name: review-sentiment", "bakeoff.yaml:2 task", "try: text-classification",
        "data.target: required, but missing", "bakeoff.yaml:5 data.targt", "did you mean 'target'?", "requirements.quality.floor",
        "bakeoff.yaml:8 requirements.latency", "the p50 limit is above the p95 limit", "budget.trials", "requirements.quality.floor?",
    ):  # fmt: skip
        assert expected in text
    lines = [int(part.split(" ")[0]) for part in text.split("bakeoff.yaml:")[2:]]
    assert lines == sorted(lines)


def test_a_unit_that_is_unknown_or_missing_is_explained() -> None:
    text = problems(
        MINIMAL + "requirements:\n  latency: {p95: 50 apples}\n  memory: {max: '12'}\ntraffic: {volume: 200k}\n"
    )
    assert "unit 'apples' is unknown; allowed: us" in text
    assert "'12' needs a unit of size" in text
    assert "write for example 200k/s" in text


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("traffic: {volume: 10/s, peak: 5/s}", "the peak is below the average volume"),
        ("measuring: {requests: 400}\nrequirements: {latency: {p99: 1s}}", "at least 459 for p99"),
        ("measuring: {requests: 50}\nrequirements: {latency: {p95: 1s}}", "at least 90 for p95"),
        ("measuring: {requests: 100, rounds: 200}", "more rounds than requests"),
        ("value: {errors: {neg=>pos: 1}}", "write 'neg->pos'"),
        ("value: {errors: {neg -> pos: 1}}", "write 'neg->pos'"),
        ("value: {errors: {neg: 1}}", "write 'actual->predicted'"),
        ("value: {errors: {neg->neg: 1}}", "are the same"),
        ("value: {errors: {neg->pos: -2}}", "write 2"),
        ("requirements: {quality: {floor: 1}}", "no finite number of rows"),
        ("candidates: {include: []}", "nothing may take part"),
        ("traffic: {volume: 0/s}", "must be greater than 0"),
        ("requirements: {throughput: {min: 0/s}}", "must be greater than 0"),
        ("candidates: {endpoints: [{name: a, url: 'http://x', model: m}, {name: a, url: 'http://y', model: m}]}", "two endpoints are called 'a'"),
        ("candidates: {endpoints: [{name: a, url: 'x', model: m}]}", "not a web address"),
    ],
)  # fmt: skip
def test_contradictions_and_unmeasurable_wishes_are_refused(extra: str, expected: str) -> None:
    assert expected in problems(MINIMAL + extra + "\n")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{file: a, target: y, input: y}", "data.input: names the target column 'y'"),
        ("{file: a, target: y, ignore: [y]}", "data.ignore: names the target"),
        ("{file: a, target: y, split: {group: y}}", "data.split.group: names the target"),
        ("{file: a, target: y, input: [x, z], ignore: [z]}", "'z' is both an input and ignored"),
        ("{file: a, target: y, input: []}", "no input column"),
    ],
)
def test_columns_must_not_contradict_each_other(data: str, expected: str) -> None:
    assert expected in problems(f"name: s\ntask: text-classification\ndata: {data}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("[1, 2]", "the top level must be 'key: value' lines"),
        ("just words", "the top level must be"),
        ("a:\n\t- b", "a tab stands where YAML allows only spaces"),
        ("a: [1, 2", "not YAML"),
        ("include: *", 'quote a value that starts with *, for example include: ["*"]'),
        ("a: *b", "quote a value that starts with *"),
        ("a: 1\x01", "not YAML"),
        ("a: !!python/object/apply:os.system [x]", "required, but missing"),
        ("a: !secret x", "tags are not allowed"),
        ("? [a, b]\n: 1", "a key must be plain text"),
        ("a: &a [*a]", "too large once its aliases are expanded"),
        ("[" * 3_000, "nested too deeply"),
        ("a: {<<: {b: 1}}", "merge keys"),
        ("name: .inf", "must be a finite number"),
    ],
)
def test_what_is_not_a_specification_is_refused_in_words(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_duplicate_keys_name_both_lines() -> None:
    assert "bakeoff.yaml:4 name: 'name' is given twice, first on line 1" in problems(MINIMAL + "name: again\n")


def test_an_alias_bomb_is_cut_short() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "aliases" in problems("\n".join(layers))


def test_a_data_file_given_by_mistake_is_recognised_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text("text,label\n" * 1_000_000)
    with pytest.raises(SpecError, match="give the YAML specification here"):
        load_spec(path)


def test_labels_stay_as_they_were_written() -> None:
    """YAML reads yes and 1 as a boolean and a number; where the specification wants text, the text counts."""
    data = "{file: rows.csv, target: label, positive: yes, labels: {yes: good, no: bad, 1: one, 007: agent}, ignore: [2024, on]}"
    spec = parse_spec(f"name: 2024-01-01\ntask: text-classification\ndata: {data}\nvalue: {{errors: {{no->yes: 3}}}}\n")
    assert spec.name == "2024-01-01"
    assert spec.data.positive == "yes"
    assert spec.data.labels == {"yes": "good", "no": "bad", "1": "one", "007": "agent"}
    assert spec.data.ignore == ("2024", "on")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings_people_save_in_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "bakeoff.yaml"
    path.write_bytes("name: 评论\ntask: text-classification\ndata: {file: 评论.csv, target: 标签}\n".encode(encoding))
    assert load_spec(path).data.target == "标签"


def test_a_binary_file_is_not_a_specification(tmp_path: Path) -> None:
    path = tmp_path / "bakeoff.yaml"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(SpecError, match="not a text file"):
        load_spec(path)


def test_missing_files_and_folders_suggest_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "bakeoff.yaml").write_text(MINIMAL)
    with pytest.raises(UserError, match=r"bakeoff\.yaml"):
        load_spec(tmp_path / "bakeof.yaml")
    with pytest.raises(UserError, match=r"a folder(.|\n)*bakeoff\.yaml"):
        load_spec(tmp_path)
    with pytest.raises(UserError, match="no such specification"):
        load_spec(tmp_path / "nowhere" / "x.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_users_mistake(tmp_path: Path) -> None:
    path = tmp_path / "bakeoff.yaml"
    path.write_text(MINIMAL)
    path.chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        load_spec(path)


# --- what-if settings ---


def test_overrides_change_dotted_fields() -> None:
    changes = {
        "requirements.latency.p95": "80ms",
        "value.errors.a.b->c": "5",
        "candidates.exclude": "[llm*]",
        "preset": "quick",
        "seed": "7",
    }
    spec = parse_spec(DESIGN, "s", changes)
    assert spec.requirements.latency.p95 == pytest.approx(0.08)
    assert spec.value.errors == {"neg->pos": 0.05, "a.b->c": 5.0}
    assert (spec.candidates.exclude, spec.preset, spec.seed) == (("llm*",), "quick", 7)


def test_an_override_can_remove_a_limit() -> None:
    assert parse_spec(DESIGN, "s", {"requirements.latency.p95": "none"}).requirements.latency.p95 is None
    assert parse_spec(DESIGN, "s", {"requirements.latency": "{p50: 1s}"}).requirements.latency.p95 is None


@pytest.mark.parametrize(
    ("path", "near"),
    [("p95", "requirements.latency.p95"), ("requirements.latency.p59", "requirements.latency.p9"), ("latency.p95", "requirements.latency.p95"),
     ("flor", "requirements.quality.floor"), ("traffic.vol", "traffic.volume")],
)  # fmt: skip
def test_unknown_settings_suggest_near_names(path: str, near: str) -> None:
    text = problems(DESIGN, **{path.replace(".", "__"): "1"})
    assert f"--set {path}: unknown setting" in text
    assert near in text


def test_wrong_values_of_settings_name_the_setting_not_a_line() -> None:
    text = problems(DESIGN, seed="x", traffic__peak="1/s", risk__licences="[a")
    assert "--set seed: must be a valid integer" in text
    assert "--set risk.licences: not YAML" in text
    assert "--set traffic.peak: the peak is below" in problems(DESIGN, traffic__peak="1/s")


def test_a_loaded_specification_can_be_overridden_again() -> None:
    spec = parse_spec(DESIGN)
    changed = override(spec, {"requirements.latency.p95": "80ms", "data.positive": "1"})
    assert changed.requirements.latency.p95 == pytest.approx(0.08)
    assert changed.data.positive == "1"
    assert override(spec, {}) == spec
    with pytest.raises(SpecError, match=r"--set traffic\.peak"):
        override(spec, {"traffic.peak": "1/s"})


def test_every_path_can_be_set_and_is_listed_once() -> None:
    paths = spec_paths()
    assert len(paths) == len(set(paths))
    assert {"name", "requirements.latency.p95", "decision.indifference.quality", "value.errors"} <= set(paths)


@given(st.text(max_size=300))
def test_no_text_whatsoever_raises_anything_but_a_users_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        parse_spec(text)


@given(
    st.dictionaries(
        st.sampled_from(spec_paths()),
        st.one_of(st.text(max_size=12), st.integers().map(str), st.floats().map(str)),
        max_size=4,
    )
)
def test_no_override_whatsoever_raises_anything_but_a_users_error(changes: dict[str, str]) -> None:
    with contextlib.suppress(SpecError):
        assert isinstance(parse_spec(DESIGN, "s", changes), Spec)


def test_yaml_is_imported_only_when_a_file_is_read() -> None:
    code = "import sys, bakeoff.schema.loading as l; assert 'yaml' not in sys.modules; l.parse_spec('a: 1')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": "src"},
    )
    assert "SpecError" in done.stderr, done.stderr
