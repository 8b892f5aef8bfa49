from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models._contexts import context, topics, variant

from bakeoff.models.base import BuildContext, Examples, Member
from bakeoff.models.baseline import PLUGIN as BASELINE
from bakeoff.models.ensemble import PLUGIN, gather, select
from bakeoff.models.linear import PLUGIN as LINEAR
from bakeoff.runtimes.composite import PLUGIN as COMPOSITE
from bakeoff.runtimes.loading import load_classifier
from bakeoff.runtimes.sealed import entries
from bakeoff.schema import Artifact, Rule, StepError

CALIBRATE = topics(80, 2, seed=9)


def _member(out: Path, name: str, temperature: float = 1.0, classes: tuple[str, ...] = ("a", "b")) -> Member:
    if name == "baseline":
        artifact = BASELINE.build(context(out, topics(50, 2), variant(), classes=classes))
    else:
        settings_ = {"format": "tfidf-linear", "units": "char", "ngrams": [1, 2], "C": float(name)}
        artifact = LINEAR.build(context(out, topics(150, 2), variant(**settings_), classes=classes))
    artifact = artifact.model_copy(update={"rule": Rule(temperature=temperature), "files": entries(out)})
    (out / "artifact.json").write_text(artifact.model_dump_json(), encoding="utf-8")
    classifier = load_classifier(out, "native", 1)
    return Member(f"linear.{name}.none.native", "native", artifact, out, classifier.predict_proba(CALIBRATE.rows))


def _context(out: Path, members: tuple[Member, ...], name: str = "soft-vote", **more: object) -> BuildContext:
    return context(out, topics(50, 2), variant(name), calibrate=CALIBRATE, members=members, **more)


def test_soft_vote_is_the_mean_of_calibrated_probabilities(tmp_path: Path) -> None:
    members = (
        _member(tmp_path / "a", "4", temperature=2.0),
        _member(tmp_path / "b", "0.5"),
        _member(tmp_path / "c", "baseline"),
    )
    artifact = PLUGIN.build(_context(tmp_path / "e", members))
    found = COMPOSITE.load(artifact, tmp_path / "e", 1).predict_proba(CALIBRATE.rows)
    np.testing.assert_allclose(found, np.mean([member.calibrate for member in members], axis=0), atol=1e-12)


def test_members_travel_with_the_ensemble(tmp_path: Path) -> None:
    members = (_member(tmp_path / "a", "4"), _member(tmp_path / "b", "baseline"))
    artifact = PLUGIN.build(_context(tmp_path / "e", members))
    assert [entry["path"] for entry in artifact.meta["members"]] == ["members/0", "members/1"]
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    assert COMPOSITE.load(artifact, tmp_path / "e", 1).predict_proba([{"text": "春"}]).shape == (1, 2)
    written = Artifact.model_validate_json((tmp_path / "e/members/0/artifact.json").read_bytes())
    assert written == members[0].artifact


def test_files_are_linked_where_the_file_system_can(tmp_path: Path) -> None:
    member = _member(tmp_path / "a", "4")
    gather(member, tmp_path / "copy")
    assert (tmp_path / "copy/weights.npz").stat().st_ino == (tmp_path / "a/weights.npz").stat().st_ino
    assert (tmp_path / "copy/artifact.json").stat().st_ino != (tmp_path / "a/artifact.json").stat().st_ino


def test_without_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    member = _member(tmp_path / "a", "4")
    monkeypatch.setattr(os, "link", refuse)
    gather(member, tmp_path / "copy")
    assert (tmp_path / "copy/weights.npz").read_bytes() == (tmp_path / "a/weights.npz").read_bytes()


def test_greedy_leaves_useless_members_out(tmp_path: Path) -> None:
    members = (_member(tmp_path / "a", "baseline"), _member(tmp_path / "b", "4"))
    artifact = PLUGIN.build(_context(tmp_path / "e", members, "greedy"))
    assert [entry["candidate"] for entry in artifact.meta["members"]] == [members[1].candidate]
    assert not (tmp_path / "e/members/1").exists()


def test_one_member_is_no_ensemble(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="two trained members"):
        PLUGIN.build(_context(tmp_path / "e", (_member(tmp_path / "a", "4"),)))


def test_members_in_another_order_of_classes_are_aligned(tmp_path: Path) -> None:
    straight, turned = _member(tmp_path / "a", "4"), _member(tmp_path / "b", "4", classes=("b", "a"))
    artifact = PLUGIN.build(_context(tmp_path / "e", (straight, turned)))
    found = COMPOSITE.load(artifact, tmp_path / "e", 1).predict_proba(CALIBRATE.rows)
    np.testing.assert_allclose(found, (straight.calibrate + turned.calibrate[:, ::-1]) / 2, atol=1e-12)


def test_members_of_other_classes_are_refused(tmp_path: Path) -> None:
    members = (_member(tmp_path / "a", "4"), _member(tmp_path / "b", "4", classes=("x", "y")))
    with pytest.raises(StepError, match="other classes"):
        PLUGIN.build(_context(tmp_path / "e", members, "greedy"))
    artifact = PLUGIN.build(_context(tmp_path / "f", members))
    with pytest.raises(StepError, match="other classes"):
        COMPOSITE.load(artifact, tmp_path / "f", 1)


def test_an_ensemble_can_hold_an_ensemble(tmp_path: Path) -> None:
    inner = (_member(tmp_path / "a", "4"), _member(tmp_path / "b", "baseline"))
    artifact = PLUGIN.build(_context(tmp_path / "e", inner))
    (tmp_path / "e/artifact.json").write_text(artifact.model_dump_json(), encoding="utf-8")
    vote = load_classifier(tmp_path / "e", "composite", 1).predict_proba(CALIBRATE.rows)
    outer = (Member("ensemble.x.none.composite", "composite", artifact, tmp_path / "e", vote), inner[0])
    nested = PLUGIN.build(_context(tmp_path / "n", outer))
    found = COMPOSITE.load(nested, tmp_path / "n", 1).predict_proba(CALIBRATE.rows)
    np.testing.assert_allclose(found, (vote + inner[0].calibrate) / 2, atol=1e-12)


def _loss(probabilities: np.ndarray, labels: np.ndarray, weights: list[float]) -> float:
    mixed = np.tensordot(np.asarray(weights), probabilities, axes=1)
    return float(-np.log(np.clip(mixed[np.arange(len(labels)), labels], 1e-6, 1)).mean())


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_greedy_is_at_least_as_good_as_the_best_member(seed: int, members: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 50)
    raw = rng.dirichlet(np.ones(classes), (members, 50)) + 0.8 * np.eye(classes)[labels] * rng.random((members, 1, 1))
    probabilities = raw / raw.sum(axis=2, keepdims=True)
    weights = select(probabilities, labels, 25)
    assert sum(weights) == pytest.approx(1.0)
    alone = min(_loss(probabilities, labels, [float(at == one) for at in range(members)]) for one in range(members))
    assert _loss(probabilities, labels, weights) <= alone + 1e-9
    assert select(probabilities, labels, 25) == weights


def test_greedy_comes_near_the_best_of_all_weights() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 200)
    raw = rng.dirichlet(np.ones(2), (3, 200)) + np.eye(2)[labels] * np.array([0.5, 0.6, 0.4])[:, None, None]
    probabilities = raw / raw.sum(axis=2, keepdims=True)
    grid = [(a / 20, b / 20, (20 - a - b) / 20) for a, b in product(range(21), repeat=2) if a + b <= 20]
    best = min(_loss(probabilities, labels, list(weights)) for weights in grid)
    assert _loss(probabilities, labels, select(probabilities, labels, 25)) <= best + 0.003


def test_equal_members_go_to_the_first() -> None:
    labels = np.array([0, 1, 0])
    same = np.tile(np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), (3, 1, 1))
    assert select(same, labels, 10) == [1.0, 0.0, 0.0]


def test_a_member_file_outside_of_its_directory_is_unsafe(tmp_path: Path) -> None:
    member = _member(tmp_path / "a", "4")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (tmp_path / "a/weights.npz").unlink()
    (tmp_path / "a/weights.npz").symlink_to(tmp_path / "secret")
    with pytest.raises(StepError) as caught:
        gather(member, tmp_path / "copy")
    assert caught.value.code == "unsafe"


def test_probe_and_empty_calibrate_fall_back_to_the_mean(tmp_path: Path) -> None:
    members = (_member(tmp_path / "a", "baseline"), _member(tmp_path / "b", "4"))
    probe = PLUGIN.build(_context(tmp_path / "p", members, "greedy", probe=True))
    assert [entry["weight"] for entry in probe.meta["members"]] == [0.5, 0.5]
    nothing = Examples([], np.zeros(0, dtype=np.int64))
    bare = context(tmp_path / "q", topics(50, 2), variant("greedy"), members=members)
    empty = PLUGIN.build(type(bare)(**{**vars(bare), "calibrate": nothing}))
    assert [entry["weight"] for entry in empty.meta["members"]] == [0.5, 0.5]
