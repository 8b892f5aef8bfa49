"""The paired Bayesian bootstrap: agrees with theory, covers, and keeps candidates paired."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bakeoff.decision.bootstrap import RowSums, Unseen, central, generator, plain
from bakeoff.decision.figures import interval
from bakeoff.decision.posterior import PRIOR_DEVIATION, Judging, QualityPosterior
from bakeoff.decision.view import views
from bakeoff.tasks.scoring import score_draws, statistic
from tests.decision.binomial import upper_bound
from tests.decision.worlds import CHAR, E5, Stack, make_world

ACCURACY = Judging("accuracy", 1, ())


def _drawn(
    metric: str, actual: np.ndarray, predicted: np.ndarray, seed: int, draws: int = 1000
) -> tuple[np.ndarray, float]:
    found = statistic(metric, actual, predicted, None, 1)
    sums = RowSums(np.arange(actual.size))
    tickets = sums.add(found, np.arange(actual.size))
    sums.draw(draws, generator(seed))
    return sums.scores(found, tickets), plain(found)


def test_draws_of_an_accuracy_follow_its_beta_distribution() -> None:
    """With k of n right, the weight of the right rows is Beta(k, n-k) exactly (Rubin 1981)."""
    actual, predicted = np.zeros(200, dtype=int), np.r_[np.zeros(170, dtype=int), np.ones(30, dtype=int)]
    drawn, _ = _drawn("accuracy", actual, predicted, 3, 4000)
    assert stats.kstest(drawn, stats.beta(170, 30).cdf).pvalue > 0.01


@pytest.mark.parametrize(("metric", "confidence"), [("accuracy", 0.95), ("macro_f1", 0.95), ("macro_f1", 0.9)])
def test_intervals_cover_the_truth_as_often_as_they_say(metric: str, confidence: float) -> None:
    random = np.random.default_rng(11)
    population = random.integers(0, 2, 400_000)
    answers = np.where(random.random(population.size) < np.where(population == 1, 0.8, 0.9), population, 1 - population)
    truth = plain(statistic(metric, population, answers, None, 1))
    repeats, covered = 500, 0
    for number in range(repeats):
        rows = random.integers(0, population.size, 300)
        drawn, value = _drawn(metric, population[rows], answers[rows], number, 500)
        low, high = interval(drawn, confidence, value)
        covered += low <= truth <= high
    assert covered / repeats == pytest.approx(confidence, abs=0.03)


def test_a_subset_of_rows_uses_its_part_of_the_same_weights() -> None:
    random = np.random.default_rng(5)
    actual, predicted = random.integers(0, 3, 90), random.integers(0, 3, 90)
    rows = np.arange(0, 90, 3)
    whole, part = statistic("macro_f1", actual, predicted), statistic("macro_f1", actual[rows], predicted[rows])
    sums = RowSums(np.arange(90))
    first, second = sums.add(whole, np.arange(90)), sums.add(part, rows)
    sums.draw(50, generator(1))
    weights = generator(1).standard_exponential((50, 90), dtype=np.float32)
    assert sums.scores(whole, first) == pytest.approx(
        score_draws("macro_f1", actual, predicted, None, 1, weights), abs=1e-5
    )
    expected = score_draws("macro_f1", actual[rows], predicted[rows], None, 1, weights[:, rows])
    assert sums.scores(part, second) == pytest.approx(expected, abs=1e-5)


def test_draws_do_not_depend_on_the_size_of_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    actual, predicted = np.zeros(50, dtype=int), np.arange(50) % 2
    whole, _ = _drawn("accuracy", actual, predicted, 9, 64)
    monkeypatch.setattr("bakeoff.decision.bootstrap._CHUNK", 50 * 7)
    chunked, _ = _drawn("accuracy", actual, predicted, 9, 64)
    assert chunked == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "classes"), [("accuracy", 2), ("macro_f1", 2), ("macro_f1", 6), ("balanced_accuracy", 3), ("roc_auc", 2)]
)
def test_a_perfect_score_has_an_interval_of_the_rule_of_three(metric: str, classes: int) -> None:
    """All of 200 right: the truth may be as low as about 1 - 3/200, not 1 exactly; the mean hardly moves."""
    actual = np.arange(200) % classes
    table = np.eye(classes)[actual]
    found = statistic(metric, actual, actual, table, 1 if classes == 2 else None)
    sums = RowSums(np.arange(200))
    tickets = sums.add(found, np.arange(200))
    sums.draw(4000, generator(0))
    drawn = sums.scores(found, tickets, Unseen.of_arm("arm", 4000, 0, classes))
    assert sums.scores(found, tickets).min() == pytest.approx(1.0, abs=1e-6)
    low = 1.0 - float(np.quantile(drawn, 0.025))
    assert 1.5 / 200 < low < 3.5 / 200
    assert drawn.mean() > 1.0 - 1.5 / 200
    assert drawn.max() <= 1.0 + 1e-9


def test_intervals_of_nearly_perfect_candidates_cover() -> None:
    """99.5 % right, 200 rows: many samples are perfect; the interval still holds the truth as often as it says (Jeffreys' does)."""
    random, hits = np.random.default_rng(12), 0
    for number in range(400):
        wrong = random.random(200) >= 0.995
        found = statistic("accuracy", np.zeros(200, dtype=int), wrong.astype(int))
        sums = RowSums(np.arange(200))
        tickets = sums.add(found, np.arange(200))
        sums.draw(500, generator(number))
        low, high = central(sums.scores(found, tickets, Unseen.of_arm(str(number), 500, 0, 2)), 0.95)
        hits += low <= 0.995 <= high
    assert upper_bound(400 - hits, 400, 0.05) <= 0.07


def test_two_arms_that_agreed_so_far_need_not_agree_on_the_next_row() -> None:
    first = Stack("linear.a.none.native", 0.9)
    twins = [first, Stack("boosting.b.none.native", 0.9, same_as=first.id)]
    found = QualityPosterior(views(make_world(twins)), ACCURACY, 2000, 0, 0).quality()
    gap = found[twins[1].id].sampling - found[first.id].sampling
    assert 0.1 / 2000 < gap.std() < 1.0 / 2000
    assert abs(gap.mean()) < 0.1 / 2000


def test_central_interval_is_the_quantile_of_numpy() -> None:
    drawn = np.random.default_rng(13).standard_normal(777)
    for confidence in (0.5, 0.9, 0.95, 0.999):
        tail = (1 - confidence) / 2
        assert central(drawn, confidence) == pytest.approx(tuple(np.quantile(drawn, (tail, 1 - tail))))


def test_pairing_narrows_the_difference() -> None:
    """McNemar's variance of a paired difference: (b + c - (b-c)²/n)/n², from the discordant rows only."""
    evidence = make_world([CHAR, E5])
    found = QualityPosterior(views(evidence), ACCURACY, 2000, 0, 0).quality()
    gap = found[E5.id].sampling - found[CHAR.id].sampling
    right = {
        view.id: view.judged.predicted == view.judged.actual for view in views(evidence) if view.judged is not None
    }
    b, c = (right[E5.id] & ~right[CHAR.id]).sum(), (~right[E5.id] & right[CHAR.id]).sum()
    n = right[CHAR.id].size
    assert gap.std() == pytest.approx(np.sqrt(b + c - (b - c) ** 2 / n) / n, rel=0.06)
    unpaired = np.hypot(found[E5.id].sampling.std(), found[CHAR.id].sampling.std())
    assert gap.std() < 0.8 * unpaired


def test_training_seeds_widen_networks_and_nothing_else() -> None:
    network = Stack("encoder.a.none.pytorch", network=True, seeds=1)
    still = Stack("linear.b.none.native")
    prompt = Stack("llm_prompt.c.none.llama_cpp", trains=False, network=True)
    found = QualityPosterior(views(make_world([network, still, prompt])), ACCURACY, 500, 0, 0).quality()
    assert found[network.id].seed_deviation == pytest.approx(PRIOR_DEVIATION)
    assert found[still.id].seed_deviation == 0.0
    assert found[prompt.id].seed_deviation == 0.0
    assert found[network.id].draws.std() > found[network.id].sampling.std()


def test_observed_seeds_pull_the_deviation_from_its_prior() -> None:
    shaky = Stack(
        "encoder.a.none.pytorch", network=True, seeds=5, agree=0.3
    )  # every seed answers anew: about 0.01 between seeds
    found = QualityPosterior(views(make_world([shaky])), ACCURACY, 500, 0, 0).quality()[shaky.id]
    assert found.seeds == 5
    assert found.seed_deviation > 1.3 * PRIOR_DEVIATION


def test_candidates_of_one_arm_share_the_training_term() -> None:
    twins = [
        Stack("encoder.a.none.pytorch", network=True),
        Stack("encoder.a.none.onnxruntime", network=True, same_as="encoder.a.none.pytorch"),
    ]
    found = QualityPosterior(views(make_world(twins)), ACCURACY, 500, 0, 0).quality()
    assert np.array_equal(found[twins[0].id].draws, found[twins[1].id].draws)


def test_stopped_candidate_is_carried_to_the_finalists_scale() -> None:
    """Judged at 11 % of the rows, three points below the reference there, it is expected three points below it in the final."""
    reference = Stack("linear.a.none.native", 0.88, rungs=((0.11, 0.80), (1.0, 0.88)))
    stopped = Stack("linear.b.none.native", 0.0, final=False, rungs=((0.11, 0.77),))
    found = QualityPosterior(views(make_world([reference, stopped])), ACCURACY, 1000, 0, 0).quality()
    assert found[stopped.id].carried
    assert not found[reference.id].carried
    assert found[stopped.id].value == pytest.approx(0.85, abs=0.03)


def test_what_an_arm_gains_from_more_rows_is_not_known_exactly() -> None:
    """The carried candidate's interval is wider the more the finalists gained on the way to the final; without a gain hardly wider."""
    widths = []
    for early in (0.80, 0.875):
        reference = Stack("linear.a.none.native", 0.88, rungs=((0.11, early), (1.0, 0.88)))
        stopped = Stack("linear.b.none.native", 0.0, final=False, rungs=((0.11, early - 0.02),))
        found = QualityPosterior(views(make_world([reference, stopped])), ACCURACY, 1000, 0, 0).quality()
        widths.append(found[stopped.id].draws.std())
    assert widths[0] > 1.5 * widths[1]


def test_prompted_model_is_not_credited_with_training_rows() -> None:
    reference = Stack("linear.a.none.native", 0.88, rungs=((0.11, 0.80), (1.0, 0.88)))
    prompt = Stack("llm_prompt.b.none.llama_cpp", 0.80, final=False, trains=False, rungs=((1.0, 0.80),))
    found = QualityPosterior(views(make_world([reference, prompt])), ACCURACY, 1000, 0, 0).quality()
    assert found[prompt.id].value == pytest.approx(0.80, abs=0.035)


def test_mistakes_and_right_answers_add_up() -> None:
    found = QualityPosterior(views(make_world([E5])), Judging("macro_f1", 1, ((0, 1), (1, 0))), 300, 0, 0).quality()[
        E5.id
    ]
    assert found.accuracy + found.mistakes.sum(axis=0) == pytest.approx(np.ones(300), abs=1e-5)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "balanced_accuracy", "f1"])
def test_cells_are_drawn_as_rows_are(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few classes only cells of the confusion table are drawn; the posterior is the same as from the columns of the metric."""
    evidence = make_world([CHAR, E5])
    judging = Judging(metric, 1, ((0, 1),))
    few = QualityPosterior(views(evidence), judging, 200, 0, 0).quality()
    monkeypatch.setattr("bakeoff.decision.posterior._FEW", 1)
    many = QualityPosterior(views(evidence), judging, 200, 0, 0).quality()
    for name, found in few.items():
        assert found.draws == pytest.approx(many[name].draws, abs=1e-5)
        assert found.accuracy == pytest.approx(many[name].accuracy, abs=1e-5)
        assert found.mistakes == pytest.approx(many[name].mistakes, abs=1e-5)
        assert found.value == pytest.approx(many[name].value, abs=1e-7)
