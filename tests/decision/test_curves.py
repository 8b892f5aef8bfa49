"""Learning curves: a planted power law is found, gains are predicted with intervals, nothing is fitted to one point."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff.decision import decide
from bakeoff.decision.curves import _fit
from bakeoff.schema import CurvePoint
from tests.decision.worlds import CHAR, E5, LLM, Stack, make_world


def _points(a: float, b: float, c: float, rows: tuple[int, ...]) -> tuple[CurvePoint, ...]:
    values = [1 - a - b * n**-c for n in rows]
    return tuple(CurvePoint(rows=n, value=v, low=v, high=v) for n, v in zip(rows, values, strict=True))


@pytest.mark.parametrize(("a", "b", "c"), [(0.1, 3.0, 0.5), (0.05, 1.0, 0.3), (0.0, 4.0, 0.45)])
def test_a_planted_power_law_is_found(a: float, b: float, c: float) -> None:
    fit = _fit("arm", _points(a, b, c, (300, 1000, 3000, 9000)), np.full(4, 1e-6), 9000, 0)
    assert fit is not None
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
    fit = _fit("arm", _points(0.3, -1.0, 0.5, (300, 1000, 3000)), np.full(3, 1e-6), 3000, 0)
    assert fit is not None
    assert fit.change(10_000) == 0.0


def test_one_point_and_models_that_do_not_train_are_not_extrapolated() -> None:
    curves = {curve.arm: curve for curve in decide(make_world([Stack("linear.a.none.native"), LLM])).curves}
    assert curves["linear.a"].next_1000 is None
    assert curves["llm_prompt.qwen05b-zero"].next_1000 is None


def test_noise_in_the_points_widens_the_gain() -> None:
    points = _points(0.1, 3.0, 0.5, (300, 1000, 3000))
    widths = []
    for noise in (1e-5, 5e-3):
        fit = _fit("arm", points, np.full(3, noise), 3000, 0)
        assert fit is not None
        widths.append(np.ptp(np.quantile(fit.error(3000) - fit.error(4000), (0.025, 0.975))))
    assert widths[1] > 3 * widths[0]
