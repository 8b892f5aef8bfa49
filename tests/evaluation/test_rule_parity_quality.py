"""Temperature, parity and scores against scipy and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn import metrics

from bakeoff.data.transforms.rule import scale
from bakeoff.evaluation.parity import EXPORT_DRIFT, LOSSY_DRIFT, allowed_drift, gate, measure_parity, same_labels
from bakeoff.evaluation.quality import check_probabilities, measure_quality
from bakeoff.evaluation.recorder import failure_of
from bakeoff.evaluation.rule import fit_rule, fit_temperature
from bakeoff.schema import Artifact, Rule, Spec, StepError

RNG = np.random.default_rng(0)


def problem(n: int, k: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure (temperature above 1) or too unsure, and labels drawn from the honest ones."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet(np.full(k, 0.7), n)
    labels = np.array([rng.choice(k, p=row) for row in honest])
    return scale(honest, 1 / temperature), labels


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("k", [2, 5])
def test_the_temperature_is_the_one_of_least_log_loss(true: float, k: int) -> None:
    table, labels = problem(3000, k, true)

    def loss(log_temperature: float) -> float:
        return metrics.log_loss(labels, scale(table, float(np.exp(log_temperature))), labels=list(range(k)))

    best = float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))
    assert fit_temperature(table, labels) == pytest.approx(best, rel=0.01)
    assert fit_temperature(table, labels) == pytest.approx(true, rel=0.15)


def test_a_few_right_rows_do_not_call_for_certainty() -> None:
    table = np.array([[0.9, 0.1]] * 5)
    assert 0.2 < fit_temperature(table, np.zeros(5, np.int64)) < 1.0
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, np.int64)) == 1.0


def test_costs_enter_the_rule_only_when_mistakes_are_priced(make_spec: Callable[..., Spec]) -> None:
    assert fit_rule(None, None, make_spec(), ("neg", "pos")) == Rule()
    priced = make_spec(value={"per_correct": 1.0, "errors": {"neg->pos": 5.0}})
    rule = fit_rule(None, None, priced, ("neg", "pos"))
    assert rule.costs is not None
    assert rule.costs[0][1] > rule.costs[1][0] > rule.costs[0][0]


def test_identical_answers_pass_any_gate() -> None:
    table = RNG.dirichlet([1, 1], 200)
    agreement, drift = measure_parity(table, table.astype(np.float32), Rule(temperature=1.7))
    assert agreement.value == 1.0
    assert drift.value is not None
    assert drift.value < 1e-6
    gate(agreement, drift, lossy=False)


def test_ties_may_go_either_way_but_real_changes_may_not() -> None:
    before = np.array([[0.50002, 0.49998]] * 10)
    tied = measure_parity(before, before[:, ::-1], Rule())
    assert tied[0].value == 1.0
    gate(*tied, lossy=False)
    changed = measure_parity(np.array([[0.6, 0.4]] * 10), np.array([[0.4, 0.6]] * 10), Rule())
    assert changed[0].value == 0.0
    with pytest.raises(StepError, match="changed 10 of 10 labels") as caught:
        gate(*changed, lossy=False)
    assert caught.value.code == "parity"


def test_ties_are_judged_by_what_mistakes_cost() -> None:
    rule = Rule(costs=((0.0, 1.0), (9.0, 0.0)))  # the label flips at 0.1, not at 0.5
    before, after = np.array([[0.92, 0.08]]), np.array([[0.88, 0.12]])
    assert measure_parity(before, after, rule)[0].value == 0.0
    assert measure_parity(before, after, Rule())[0].value == 1.0


def test_a_tie_does_not_depend_on_the_unit_of_costs() -> None:
    near, far = np.array([[0.8997, 0.1003]]), np.array([[0.89, 0.11]])  # of the 0.9 at which the label flips
    no, yes = np.array([0]), np.array([1])
    for unit in (1e-6, 1.0, 1e6):
        rule = Rule(costs=((0.0, unit), (9 * unit, 0.0)))
        assert same_labels(no, yes, near, rule).all()
        assert not same_labels(no, yes, far, rule).any()
        assert same_labels(no, yes, far, rule, tie=0.05).all()


def test_a_label_that_is_none_is_never_a_tie() -> None:
    assert not same_labels(np.array([-1]), np.array([1]), np.array([[0.5, 0.5]]), Rule()).any()


def test_what_is_in_few_bits_may_drift_further() -> None:
    plain = Artifact(format="openvino", task="t", classes=("a", "b"), inputs=(), meta={"model": "model.xml"})
    small = plain.model_copy(update={"meta": {"compression": "static_int8"}})
    remote = plain.model_copy(update={"format": "openai-prompt"})
    above = plain.model_copy(update={"format": "ensemble"})
    assert allowed_drift([plain]) == allowed_drift([above, plain]) == EXPORT_DRIFT
    assert allowed_drift([small]) == allowed_drift([remote]) == allowed_drift([above, plain, small]) == LOSSY_DRIFT


def test_drift_alone_fails_an_export_but_not_a_lossy_pass() -> None:
    before = RNG.dirichlet([5, 1], 100)
    after = before + np.array([0.01, -0.01])
    found = measure_parity(before, after, Rule())
    with pytest.raises(StepError, match=r"moved a probability by 0\.01"):
        gate(*found, lossy=False)
    if (found[0].value or 0) >= 0.97:
        gate(*found, lossy=True)


def test_a_lossy_pass_may_change_three_labels_in_a_hundred() -> None:
    before = np.tile([0.8, 0.2], (100, 1))
    for changed, fine in ((3, True), (4, False)):
        after = before.copy()
        after[:changed] = after[:changed, ::-1]
        found = measure_parity(before, after, Rule())
        if fine:
            gate(*found, lossy=True)
        else:
            with pytest.raises(StepError, match=r"4\.0 %") as caught:
                gate(*found, lossy=True)
            assert caught.value.zh == "压缩后，100 行校准数据中有 4.0 % 的标签变了（上限 3 %）"
            assert failure_of(caught.value).reason_zh == caught.value.zh


@pytest.mark.parametrize("k", [2, 4])
def test_scores_are_scikit_learns_and_inside_their_intervals(k: int) -> None:
    table, labels = problem(500, k, 1.0, seed=3)
    guesses = table.argmax(axis=1)
    found = {m.name: m for m in measure_quality(labels, guesses, table, 1, 0.95)}
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(labels, guesses))
    assert found["macro_f1"].value == pytest.approx(metrics.f1_score(labels, guesses, average="macro"))
    assert found["balanced_accuracy"].value == pytest.approx(metrics.balanced_accuracy_score(labels, guesses))
    assert found["f1"].value == pytest.approx(metrics.f1_score(labels == 1, guesses == 1))
    assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(labels == 1, table[:, 1]), abs=1e-6)
    for one in found.values():
        assert one.low is not None
        assert one.high is not None
        assert one.value is not None
        assert one.low <= one.value <= one.high
        assert one.n == 500
    assert measure_quality(labels, guesses, table, 1, 0.95) == tuple(found.values())  # no clock, no chance
    assert measure_quality(labels[:0], guesses[:0], table[:0], 1, 0.95) == ()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.full((3, 2), np.nan), "3 of 3 rows"),
        (np.array([[0.5, 0.5], [np.inf, 0.0], [0.5, 0.5]]), "1 of 3 rows"),
        (np.full((2, 2), 0.5), "wrong shape"),
        (np.full((3, 3), 1 / 3), "wrong shape"),
        (np.full((3, 2), 0.6), "do not add up"),
        (np.array([[1.5, -0.5]] * 3), "negative"),
    ],
)
def test_what_is_no_probability_is_refused(table: np.ndarray, message: str) -> None:
    with pytest.raises(StepError, match=message) as caught:
        check_probabilities(table, 3, 2)
    assert caught.value.code == "non_finite"


def test_probabilities_in_single_precision_are_fine() -> None:
    table = RNG.dirichlet([1, 1, 1], 50).astype(np.float32)
    assert check_probabilities(table, 50, 3).dtype == np.float64
