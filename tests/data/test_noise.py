"""Label noise is found at about the rate it was planted at, and the careless split is shown for what it is."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.data.freeze import Frozen, prepare_table
from bakeoff.data.noise import (
    confident_joint,
    honest_score,
    measured_profile,
    naive_score,
    noise_ceiling,
    noise_share,
    sure_noise,
)
from bakeoff.schema import UnavailableError
from tests.data.making import customers, reviews, spec, table


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    return prepare_table(spec(), table(tmp_path_factory.mktemp("noise"), reviews(2500)))


def planted(frozen: Frozen, rate: float, seed: int = 1) -> Frozen:
    flipped = np.random.default_rng(seed).random(len(frozen)) < rate
    return replace(frozen, labels=np.where(flipped, 1 - frozen.labels, frozen.labels))


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.1, 0.2])
def test_planted_noise_is_estimated_on_separable_data(clean: Frozen, rate: float) -> None:
    found = noise_ceiling(planted(clean, rate))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 1 - found.value == pytest.approx(rate, abs=0.015)
    assert found.low - 0.01 <= 1 - rate <= found.high + 0.01
    assert found.provenance == "predicted"


def test_the_estimate_rises_with_the_noise(clean: Frozen) -> None:
    values = [noise_ceiling(planted(clean, rate)).value or 0 for rate in (0.0, 0.05, 0.1, 0.2, 0.3)]
    assert values == sorted(values, reverse=True)


def test_hard_rows_are_not_claimed_to_be_noise_for_certain(tmp_path: Path) -> None:
    """Income explains the target only in part: the labels are right, the rows are hard, and the remark says so."""
    frozen = prepare_table(spec(data="target: bad", task="tabular-classification"), table(tmp_path, customers(2500)))
    found = noise_ceiling(frozen)
    assert found.value is not None
    assert found.high is not None
    assert found.high - found.value > 0.03
    assert "hard for this model" in found.remark


def test_the_ceiling_is_never_below_what_the_model_reached(clean: Frozen) -> None:
    random = np.random.default_rng(0)
    found = noise_ceiling(replace(clean, labels=random.integers(0, 2, len(clean))))
    assert found.value is not None
    assert found.value >= 0.45


def test_the_same_seed_gives_the_same_estimate(clean: Frozen) -> None:
    assert noise_ceiling(clean, 3) == noise_ceiling(clean, 3)


def test_too_few_rows_are_refused_with_the_number_missing(tmp_path: Path) -> None:
    frozen = prepare_table(spec(), table(tmp_path, reviews(60)))
    found = noise_ceiling(frozen)
    assert found.validity == "refused"
    assert "needs 100 rows" in found.remark


# --- the parts against simulation ---


def calibrated(noise: float, count: int = 20_000, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels flipped at a known rate and the probabilities a perfect model of the noisy labels gives."""
    random = np.random.default_rng(seed)
    true = random.integers(0, 2, count)
    labels = np.where(random.random(count) < noise, 1 - true, true)
    one = np.where(true == 1, 1 - noise, noise) + random.normal(0, 0.01, count)
    return labels, np.stack([1 - one, one], axis=1)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_confident_learning_counts_the_flips_of_a_perfect_model(noise: float) -> None:
    labels, probabilities = calibrated(noise)
    joint = confident_joint(labels, probabilities)
    value, low, high = noise_share(joint, labels, 0)
    assert value == pytest.approx(noise, abs=0.02)
    assert low < value < high
    assert sure_noise(labels, probabilities) <= value


def test_the_bootstrap_interval_covers_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        labels, probabilities = calibrated(0.1, 1000, seed)
        _, low, high = noise_share(confident_joint(labels, probabilities), labels, seed)
        hits += low - 0.01 <= 0.1 <= high + 0.01
    assert hits >= 54


def test_rows_confident_of_nothing_are_not_counted() -> None:
    probabilities = np.asarray([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    joint = confident_joint(np.asarray([0, 0, 1]), probabilities)
    assert joint.tolist() == [[1, 0], [0, 1]]
    assert noise_share(np.zeros((2, 2), dtype=np.int64), np.asarray([0, 1]), 0) == (0.0, 0.0, 0.0)


def test_a_class_without_rows_is_never_confident() -> None:
    joint = confident_joint(np.asarray([0, 0]), np.asarray([[0.9, 0.1], [0.8, 0.2]]))
    assert joint[:, 1].sum() == 0


# --- the careless split ---


def memorised(seed: int = 0) -> dict[str, list[str]]:
    """Texts without any sign of their label, each standing in the file four times: only a leak can predict them."""
    random = np.random.default_rng(seed)
    alphabet = [chr(0x4E00 + index) for index in range(2000)]
    texts = ["".join(random.choice(alphabet, 30)) for _ in range(400)]
    labels = random.choice(["pos", "neg"], 400).tolist()
    return {"text": texts * 4, "label": labels * 4}


def test_duplicates_left_in_flatter_the_score(tmp_path: Path) -> None:
    frozen = prepare_table(spec(), table(tmp_path, memorised()))
    naive, honest = naive_score(frozen), honest_score(frozen)
    assert naive.value is not None
    assert honest.value is not None
    assert naive.value > 0.95
    assert honest.value < 0.65
    assert naive.low is not None
    assert naive.low <= naive.value <= (naive.high or 0)


def test_the_profile_gets_both_figures_and_advice(tmp_path: Path) -> None:
    given = spec(more="requirements: {quality: {metric: accuracy, floor: 0.99}}")
    frozen = prepare_table(given, table(tmp_path, memorised()))
    profile = measured_profile(given, tmp_path, frozen).profile
    assert profile.noise_ceiling is not None
    assert profile.naive_score is not None
    codes = [item.code for item in profile.advice]
    assert "naive_score" in codes
    assert measured_profile(given, tmp_path, frozen).fingerprint == frozen.fingerprint


def test_a_floor_above_the_ceiling_is_called_so(clean: Frozen) -> None:
    given = spec(more="requirements: {quality: {metric: accuracy, floor: 0.95}}")
    profile = measured_profile(given, None, planted(clean, 0.2)).profile
    said = next(item for item in profile.advice if item.code == "floor_above_ceiling")
    assert "0.95" in said.message.en
    reachable = spec(more="requirements: {quality: {metric: accuracy, floor: 0.7}}")
    assert "floor_above_ceiling" not in {
        item.code for item in measured_profile(reachable, None, planted(clean, 0.2)).profile.advice
    }


def test_without_duplicates_nothing_is_compared(clean: Frozen) -> None:
    assert measured_profile(spec(), None, clean).profile.naive_score is None


def test_without_scikit_learn_the_profile_stays_as_it_is(clean: Frozen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UnavailableError, match="pip install"):
        noise_ceiling(clean)
    assert measured_profile(spec(), None, clean) is clean
