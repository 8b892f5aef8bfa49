"""Learning curves: a planted power law is found, gains are predicted with intervals, nothing is fitted to one point."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff.decision import decide
from bakeoff.decision.curves import Curve, changes, fit_curves
from bakeoff.schema import CurvePoint
from tests.decision.worlds import CHAR, E5, LLM, Stack, make_world


def _points(a: float, b: float, c: float, rows: tuple[int, ...]) -> tuple[CurvePoint, ...]:
    values = [1 - a - b * n**-c for n in rows]
    return tuple(CurvePoint(rows=n, value=v, low=v, high=v) for n, v in zip(rows, values, strict=True))


def _fit(points: tuple[CurvePoint, ...], noise: float, today: int) -> Curve:
    return fit_curves({"arm": (points, np.full(len(points), noise))}, today, 0)["arm"]


@pytest.mark.parametrize(("a", "b", "c"), [(0.1, 3.0, 0.5), (0.05, 1.0, 0.3), (0.0, 4.0, 0.45)])
def test_a_planted_power_law_is_found(a: float, b: float, c: float) -> None:
    fit = _fit(_points(a, b, c, (300, 1000, 3000, 9000)), 1e-6, 9000)
    truth = b * (9000**-c - 18000**-c)
    assert fit.change(18000) == pytest.approx(truth, rel=0.05, abs=2e-4)
    assert fit.change(9000) == 0.0


def test_gain_of_more_rows_is_predicted_and_never_negative() -> None:
    curves = {curve.arm: curve for curve in decide(make_world([CHAR, E5])).curves}
    found = curves["linear.char"]
    assert [point.rows for point in found.points] == [880, 2640, 8000]
    assert all(point.low <= point.value <= point.high for point in found.points)
    gain = found.next_1000
    assert gain is not None
    assert gain.provenance == "predicted"
    assert gain.low is not None
    assert 0 <= gain.low <= (gain.value or 0.0) < 0.02
    assert curves["encoder.e5-small"].points[-1].seeds == 3


def test_falling_scores_predict_no_gain() -> None:
    fit = _fit(_points(0.3, -1.0, 0.5, (300, 1000, 3000)), 1e-6, 3000)
    assert fit.change(10_000) == 0.0


def test_one_point_and_models_that_do_not_train_are_not_extrapolated() -> None:
    curves = {curve.arm: curve for curve in decide(make_world([Stack("linear.a.none.native"), LLM])).curves}
    assert curves["linear.a"].next_1000 is None
    assert curves["llm_prompt.qwen05b-zero"].next_1000 is None


def test_noise_in_the_points_widens_the_gain() -> None:
    points = _points(0.1, 3.0, 0.5, (300, 1000, 3000))
    widths = []
    for noise in (1e-5, 5e-3):
        fit = _fit(points, noise, 3000)
        widths.append(np.ptp(np.quantile(fit.error(3000) - fit.error(4000), (0.025, 0.975))))
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize("law", ["exponential", "logarithm"])
def test_other_laws_are_followed_where_they_hold(law: str) -> None:
    """Half a data set more: no power law bends like this, the average of the laws does."""
    rows, today = (300, 1000, 3000, 9000), 9000

    def error(n: float) -> float:
        return 0.1 + 0.2 * np.exp(-n / 2174) if law == "exponential" else 0.05 + 0.02 * np.log(270_000 / n)

    points = tuple(CurvePoint(rows=n, value=1 - error(n), low=0, high=1) for n in rows)
    fit = _fit(points, 2e-5, today)
    assert fit.change(13_500) == pytest.approx(error(9000) - error(13_500), abs=6e-4)
    low, high = np.quantile(fit.error(9000) - fit.error(13_500), (0.025, 0.975))
    assert low - 6e-4 <= error(9000) - error(13_500) <= high + 6e-4


def test_curves_read_together_say_what_each_says_alone() -> None:
    curves = [_fit(_points(0.1, b, 0.5, (300, 1000, 3000)), 1e-3, 3000) for b in (1.0, 3.0)]
    assert changes(curves, 5000).tolist() == pytest.approx([curve.change(5000) for curve in curves])
    assert changes([], 5000).size == 0
