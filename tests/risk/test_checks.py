"""Each check on a candidate that has the fault it looks for, and on one that has not."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff import registry
from bakeoff.risk import _common, _perturb, data_leaves, licences
from bakeoff.risk.base import RiskContext
from bakeoff.schema.candidate import CostPrior
from bakeoff.schema.measurement import Finding
from tests.risk import worlds


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> RiskContext:
    """A trained text model."""
    return worlds.text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RiskContext:
    """A model on a table."""
    return worlds.table(tmp_path_factory.mktemp("table"))


def run(name: str, context: RiskContext) -> list[Finding]:
    """Run one check."""
    return list(registry.plugin("risk", name).run(context))


def number(finding: Finding, name: str) -> float:
    """Return a measurement's value."""
    value = next(found.value for found in finding.measurements if found.name == name)
    assert value is not None
    return value


# --- personal data


@pytest.mark.parametrize(("policy", "status"), [("mask", "ok"), ("report", "warn"), ("forbid", "fail")])
def test_personal_data_in_rows_is_judged_by_the_policy(text: RiskContext, policy: str, status: str) -> None:
    finding = run("personal_data", worlds.with_rules(worlds.with_personal_data(text), personal_data=policy))[0]
    assert finding.status == status
    assert "12" in finding.observed.zh
    assert number(finding, "rows_with_mobile_phone") == 12


def test_the_counts_in_a_dump_of_trees_are_nobodys_number(text: RiskContext, tmp_path: Path) -> None:
    """Taken from a real LightGBM file whose counts read as 222 telephone numbers and 18 bank cards; a real number beside them still counts."""
    model = tmp_path / "model"
    model.mkdir()
    dump = [
        "tree_sizes=868 765 774 868 881 997 974 882 1003 971 978 887 981", "leaf_count=390 119 43 1927 646 265 131 1821 1040 885",
        "leaf_count=4065 2663 1307 3610", "internal_count=60 15981 15125 2779 9193 5932 3407 5376 1697 202 4805 2525 3817",
    ]  # fmt: skip
    (model / "model.txt").write_text("\n".join(dump), encoding="utf-8")
    _, inside = run("personal_data", replace(text, directory=model))
    assert number(inside, "personal_data_in_files") == 0
    (model / "model.txt").write_text("\n".join([*dump, "contact: 13800138000"]), encoding="utf-8")
    _, inside = run("personal_data", replace(text, directory=model))
    assert number(inside, "personal_data_in_files") == 1


def test_personal_data_in_the_artefact_is_found(text: RiskContext, tmp_path: Path) -> None:
    shutil.copytree(text.directory, tmp_path / "model")
    prompt = {"shown": [["请联系我 13812345678 谢谢", 1]]}
    (tmp_path / "model" / "prompt.json").write_text(json.dumps(prompt, ensure_ascii=False), encoding="utf-8")
    _, inside = run("personal_data", replace(text, directory=tmp_path / "model"))
    assert inside.status == "fail"
    assert number(inside, "personal_data_in_files") == 1
    assert "13812345678" not in inside.model_dump_json()


def test_training_rows_in_the_artefact_are_found(text: RiskContext, tmp_path: Path) -> None:
    shutil.copytree(text.directory, tmp_path / "model")
    shown = [row["text"] for row in text.train.rows if len(row["text"]) >= 12][:3]
    (tmp_path / "model" / "prompt.json").write_text(json.dumps({"shown": shown}, ensure_ascii=False), encoding="utf-8")
    _, inside = run("personal_data", replace(text, directory=tmp_path / "model"))
    assert inside.status == "warn"
    assert number(inside, "training_rows_in_files") == len(set(shown))


# --- data leaves


class Calling:
    """A model that connects to another host while it predicts."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def predict(self, rows: Sequence[Any]) -> Any:
        """Try to reach an address of the documentation range, then answer."""
        with socket.socket() as connection:
            connection.settimeout(0.05)
            with contextlib.suppress(OSError):
                connection.connect(("192.0.2.1", 9))
        return self.inner.predict(rows)


def test_a_local_candidate_that_phones_home_is_caught(text: RiskContext) -> None:
    finding = run("data_leaves", replace(text, classifier=Calling(text.classifier)))[0]  # type: ignore[arg-type]
    assert finding.status == "fail"
    assert number(finding, "outside_connections") == 1
    assert run("data_leaves", text)[0].status == "ok"


@pytest.mark.parametrize(("allowed", "status"), [(True, "warn"), (False, "fail")])
def test_a_remote_candidate_is_judged_by_the_rule(text: RiskContext, allowed: bool, status: str) -> None:
    remote = worlds.with_rules(
        worlds.with_variant(text, remote=True, params={"url": "https://api.example.com/v1"}), data_may_leave=allowed
    )
    finding = run("data_leaves", remote)[0]
    assert finding.status == status
    assert "api.example.com" in finding.observed.en


def test_an_endpoint_on_this_machine_is_not_remote(text: RiskContext) -> None:
    assert (
        data_leaves.destination(worlds.with_variant(text, remote=True, params={"url": "http://127.0.0.1:9/v1"})) is None
    )
    assert data_leaves.destination(worlds.with_variant(text, remote=True)) == ""


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.5", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("example.com", False),
    ],
)
def test_what_counts_as_this_machine(host: str, here: bool) -> None:
    assert data_leaves.local(host) is here


def test_connections_to_this_machine_are_not_counted(text: RiskContext) -> None:
    class Local(Calling):
        def predict(self, rows: Sequence[Any]) -> Any:
            with (
                socket.create_server(("127.0.0.1", 0)) as server,
                socket.create_connection(server.getsockname()),
                server.accept()[0],
            ):
                return self.inner.predict(rows)

    assert run("data_leaves", replace(text, classifier=Local(text.classifier)))[0].status == "ok"  # type: ignore[arg-type]


# --- licences


@pytest.mark.parametrize(
    ("licence", "accepted", "verdict"),
    [
        ("Apache-2.0", None, "accepted"), ("MIT", None, "accepted"), ("unstated", None, "unstated"), ("CC-BY-NC-4.0", None, "refused"),
        ("AGPL-3.0-only", None, "obligations"), ("apache-2.0", ("Apache-2.0",), "accepted"), ("MIT", ("Apache-2.0",), "refused"),
        ("unstated", ("Apache-2.0",), "unstated"), ("unstated", ("unstated",), "accepted"),
    ],
)  # fmt: skip
def test_licences_are_judged_one_by_one(licence: str, accepted: tuple[str, ...] | None, verdict: str) -> None:
    assert licences.judge(licence, accepted) == verdict


@pytest.mark.parametrize(
    ("found", "rule", "status"),
    [
        (("MIT",), None, "ok"), (("MIT", "unstated"), None, "warn"), (("unstated",), ("MIT",), "fail"), (("GPL-3.0-only",), None, "warn"),
        (("CC-BY-NC-4.0", "MIT"), None, "fail"),
    ],
)  # fmt: skip
def test_the_worst_licence_decides(
    text: RiskContext, found: tuple[str, ...], rule: tuple[str, ...] | None, status: str
) -> None:
    context = worlds.with_rules(
        replace(text, artifact=text.artifact.model_copy(update={"licences": found})), licences=rule
    )
    assert run("licences", context)[0].status == status


# --- files


def test_a_pickle_in_the_artefact_fails(text: RiskContext, tmp_path: Path) -> None:
    shutil.copytree(text.directory, tmp_path / "model")
    assert run("unsafe_files", replace(text, directory=tmp_path / "model"))[0].status == "ok"
    (tmp_path / "model" / "head.json").write_bytes(pickle.dumps({"a": 1}))
    assert run("unsafe_files", replace(text, directory=tmp_path / "model"))[0].status == "fail"


# --- seeds


@pytest.mark.parametrize(
    ("scores", "status"), [((0.9, 0.9, 0.9), "ok"), ((0.9, 0.93, 0.91), "warn"), ((0.6, 0.9, 0.75, 0.8, 0.55), "fail")]
)
def test_the_spread_over_seeds_is_judged(text: RiskContext, scores: tuple[float, ...], status: str) -> None:
    assert run("seed_stability", replace(text, seed_scores=scores))[0].status == status


def test_without_training_or_scores_nothing_is_claimed(text: RiskContext) -> None:
    assert run("seed_stability", worlds.with_variant(text, trains=False))[0].status == "not_applicable"
    assert run("seed_stability", replace(text, seed_scores=(0.9,)))[0].status == "not_measured"


# --- calibration


def test_an_overconfident_model_is_found(text: RiskContext) -> None:
    n = 400
    random = np.random.default_rng(0)
    labels = (random.random(n) < 0.75).astype(np.int64)
    rows = [dict(row) for row in text.held_out.rows * 2][:n]
    held_out = replace(text.held_out, rows=rows, labels=labels)
    for confidence, status in ((0.75, "ok"), (0.85, "warn"), (0.99, "fail")):
        shares = np.tile([1 - confidence, confidence], (n, 1))
        finding = run("calibration", replace(text, held_out=held_out, held_out_probabilities=shares))[0]
        assert finding.status == status, confidence
        assert number(finding, "confidence_gap") == pytest.approx(confidence - labels.mean())
        assert sum(found.name.startswith("reliability_") for found in finding.measurements) == 10


# --- subgroups


def test_a_group_served_worse_is_found_and_named(table: RiskContext) -> None:
    labels = table.held_out.labels
    cities = np.array([row["city"] for row in table.held_out.rows])
    wrong = (cities == "上海") & (np.random.default_rng(0).random(len(labels)) < 0.5)
    shares = np.eye(2)[np.where(wrong, 1 - labels, labels)]
    finding = run("subgroups", replace(table, held_out_probabilities=shares))[0]
    assert finding.status == "fail"
    assert "city = 上海" in finding.observed.zh
    assert number(finding, "worst_gap") < -0.3


def test_group_values_that_look_personal_are_not_shown(table: RiskContext) -> None:
    groups = {"phone": ["13812345678" if index % 2 else "13912345679" for index in range(len(table.held_out))]}
    finding = run("subgroups", replace(table, groups=groups))[0]
    assert "13812345678" not in finding.model_dump_json()
    assert "phone = #1" in finding.model_dump_json()


# --- membership


class Memorising:
    """Sure of every row it has seen, unsure of the rest."""

    def __init__(self, context: RiskContext) -> None:
        self.known = {
            row["text"]: int(label) for row, label in zip(context.train.rows, context.train.labels, strict=True)
        }

    def predict_proba(self, rows: Sequence[Any]) -> Any:
        """Return (n, 2) probabilities."""
        return np.array(
            [
                np.eye(2)[self.known[row["text"]]] * 0.98 + 0.01 if row["text"] in self.known else [0.5, 0.5]
                for row in rows
            ]
        )


def test_a_model_that_memorised_its_rows_is_found(text: RiskContext) -> None:
    model = Memorising(text)
    context = replace(text, classifier=model, held_out_probabilities=model.predict_proba(text.held_out.rows))  # type: ignore[arg-type]
    assert run("membership_inference", context)[0].status == "warn"
    finding = run("membership_inference", worlds.with_personal_data(context))[0]
    assert finding.status == "fail"
    assert finding.level == "high"
    assert number(finding, "membership_auc") > 0.9
    assert run("membership_inference", text)[0].status == "ok"


# --- robustness


def test_a_model_of_one_character_is_not_robust(text: RiskContext) -> None:
    class Brittle:
        """Class 1 when the text is in the training rows exactly as written."""

        def predict(self, rows: Sequence[Any]) -> Any:
            shares = self.predict_proba(rows)
            return shares.argmax(axis=1), shares

        def predict_proba(self, rows: Sequence[Any]) -> Any:
            known = {row["text"]: label for row, label in zip(text.held_out.rows, text.held_out.labels, strict=True)}
            return np.array([np.eye(2)[known.get(row["text"], 0)] for row in rows])

    model = Brittle()
    context = replace(text, classifier=model, held_out_probabilities=model.predict_proba(text.held_out.rows))  # type: ignore[arg-type]
    finding = run("robustness", context)[0]
    assert finding.status == "fail"
    assert number(finding, "drop_typos") > 0.3
    assert number(finding, "flipped_typos") > 0.3


def test_a_constant_model_is_perfectly_robust(text: RiskContext) -> None:
    class Constant:
        def predict(self, rows: Sequence[Any]) -> Any:
            return np.zeros(len(rows), np.int64), np.tile([0.6, 0.4], (len(rows), 1))

    context = replace(text, classifier=Constant(), held_out_probabilities=np.tile([0.6, 0.4], (300, 1)))  # type: ignore[arg-type]
    finding = run("robustness", context)[0]
    assert finding.status == "ok"
    assert all(found.value == 0 for found in finding.measurements)


def test_a_slow_candidate_is_asked_about_fewer_rows(text: RiskContext) -> None:
    slow = worlds.with_variant(text, cost=CostPrior(predict_per_1000=500.0))
    assert _common.affordable(text, 250) == 250
    assert _common.affordable(slow, 250) == 40
    assert _common.affordable(worlds.with_variant(text, remote=True), 250) == 40
    assert all(found.n == 40 for found in run("robustness", slow)[0].measurements)


def test_a_wrong_unit_alone_never_fails_a_model(table: RiskContext) -> None:
    finding = run("robustness", table)[0]
    assert number(finding, "drop_unit_slip") > 0.1
    assert {found.name for found in finding.measurements} >= {
        "drop_missing_field",
        "drop_unit_slip",
        "drop_unseen_category",
    }


@given(st.text(max_size=80), st.integers(0, 2**32 - 1))
def test_perturbed_text_is_text_and_depends_on_the_seed_only(text: str, seed: int) -> None:
    for change in (_perturb.typos, _perturb.homoglyphs, _perturb.width, _perturb.spaces, _perturb.case):
        first, second = (change(text, np.random.default_rng(seed)) for _ in range(2))
        assert isinstance(first, str)
        assert first == second


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40))
def test_width_is_its_own_inverse(text: str) -> None:
    random = np.random.default_rng(0)
    assert _perturb.width(_perturb.width(text, random), random) == text


def test_rows_are_never_changed_in_place(table: RiskContext, text: RiskContext) -> None:
    for context in (table, text):
        before = [dict(row) for row in context.held_out.rows[:50]]
        for way in _perturb.perturbations(context.artifact.inputs, "zh"):
            after = way.change(context.held_out.rows[:50], np.random.default_rng(0))
            assert len(after) == 50
            assert all(set(new) == set(old) for new, old in zip(after, before, strict=True))
        assert [dict(row) for row in context.held_out.rows[:50]] == before


def test_levels_follow_likelihood_times_impact() -> None:
    assert [_common.level(*pair) for pair in ((0.1, 5), (0.3, 3), (0.5, 5), (1.0, 1), (1.0, 2))] == [
        "low",
        "medium",
        "high",
        "medium",
        "high",
    ]


def test_percentages_have_no_negative_zero() -> None:
    assert _common.points(-0.0) == "+0.0"
    assert _common.points(-0.00001) == "+0.0"
    assert _common.percent(-0.00001) == "0.0 %"
    assert _common.percent(None) == "–"
