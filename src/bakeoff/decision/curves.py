"""Learning curves: quality against labelled rows, a power law through them, what more rows would bring.

Error falls as a + b·n^-c (Hestness et al. 2017; Viering and Loog 2023 review the alternatives). c is scanned, a and b follow by
least squares with a, b ≥ 0; the uncertainty comes from fitting noisy copies of the points. Everything read off the fit is
'predicted'; no verdict on a candidate rests on it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import generator
from bakeoff.decision.posterior import Judging
from bakeoff.decision.view import Outcomes, View
from bakeoff.schema.decision import CurvePoint, LearningCurve
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.profile import Profile
from bakeoff.tasks.scoring import score, score_draws

_EXPONENTS = np.linspace(0.1, 1.0, 19)
_COPIES = 200
_DRAWS = 200
_MORE = 1000
_LEAST = 2


@dataclass(frozen=True)
class Curve:
    """A fitted curve of one arm: parameters (copies,) of error = a + b·n^-c, the first copy through the points themselves."""

    arm: str
    today: float
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    c: NDArray[np.float64]

    def error(self, rows: float) -> NDArray[np.float64]:
        """Return the predicted error (copies,) with that many rows."""
        found: NDArray[np.float64] = self.a + self.b * max(rows, 1.0) ** -self.c
        return found

    def change(self, rows: float) -> float:
        """Return how much quality changes between today's rows and ``rows`` (negative with fewer)."""
        return float((self.error(self.today) - self.error(rows))[0])


def learning_curves(
    views: list[View], judging: Judging, profile: Profile, seed: int, confidence: float
) -> tuple[tuple[LearningCurve, ...], dict[str, Curve]]:
    """Return the curve of every arm judged on select, and the fits of those judged at two sizes or more."""
    arms: dict[str, list[View]] = defaultdict(list)
    for view in views:
        if view.selects and view.candidate.family != "ensemble":
            arms[view.candidate.arm].append(view)
    drawn, fits = [], {}
    for arm in sorted(arms):
        first = arms[arm][0]
        points, noise = _points(
            [seen for view in arms[arm] for seen in view.selects], judging, profile, seed, confidence
        )
        fit = _fit(arm, points, noise, profile.split.train, seed) if first.candidate.variant.trains else None
        if fit is not None:
            fits[arm] = fit
        label = first.candidate.variant.label
        drawn.append(
            LearningCurve(arm=arm, label=label, points=points, next_1000=_next(fit, judging.metric, len(points)))
        )
    return tuple(drawn), fits


def _points(
    seen: list[Outcomes], judging: Judging, profile: Profile, seed: int, confidence: float
) -> tuple[tuple[CurvePoint, ...], NDArray[np.float64]]:
    """One point per share of training rows: mean over seeds on the largest set judged; and each point's standard error."""
    sizes: dict[float, dict[int, Outcomes]] = defaultdict(dict)
    for outcomes in sorted(seen, key=lambda item: (item.n, item.fidelity.seed)):
        sizes[outcomes.fidelity.fraction][outcomes.fidelity.seed] = outcomes
    points, noise = [], []
    for fraction in sorted(sizes):
        trained = [sizes[fraction][number] for number in sorted(sizes[fraction])]
        value = float(np.mean([_score(item, judging) for item in trained]))
        spread = _draws(trained[0], judging, seed) - _score(trained[0], judging)
        tail = (1.0 - confidence) / 2.0
        low, high = value + float(np.quantile(spread, tail)), value + float(np.quantile(spread, 1.0 - tail))
        rows = round(fraction * profile.split.train)
        points.append(
            CurvePoint(rows=rows, value=value, low=min(low, value), high=max(high, value), seeds=len(trained))
        )
        noise.append(float(spread.std()))
    return tuple(points), np.array(noise)


def _score(seen: Outcomes, judging: Judging) -> float:
    return score(judging.metric, seen.actual, seen.predicted, seen.probabilities, judging.positive)


def _draws(seen: Outcomes, judging: Judging, seed: int) -> NDArray[np.float64]:
    weights = _weights(seed, seen.n)
    return score_draws(judging.metric, seen.actual, seen.predicted, seen.probabilities, judging.positive, weights)


@lru_cache(maxsize=8)
def _weights(seed: int, rows: int) -> NDArray[np.float32]:
    return generator(seed, "curve", rows).standard_exponential((_DRAWS, rows), dtype=np.float32)


def _fit(arm: str, points: tuple[CurvePoint, ...], noise: NDArray[np.float64], today: int, seed: int) -> Curve | None:
    """Fit noisy copies of the points; points share their select rows, so half of the noise is taken to be common."""
    usable = [index for index, point in enumerate(points) if point.rows > 0]
    if len(usable) < _LEAST:
        return None
    rows = np.array([points[index].rows for index in usable], dtype=np.float64)
    errors = 1.0 - np.array([points[index].value for index in usable])
    copies = errors + np.sqrt(0.5) * noise[usable] * generator(seed, "fit", arm).standard_normal((_COPIES, len(usable)))
    copies[0] = errors
    exponents = _EXPONENTS if len(usable) > _LEAST else np.array([0.5])  # two points cannot tell the exponent
    fits = [_least_squares(rows**-c, copies) for c in exponents]
    best = np.argmin(np.stack([residual for _, _, residual in fits]), axis=0)
    pick = np.arange(_COPIES)
    a, b = np.stack([fit[0] for fit in fits])[best, pick], np.stack([fit[1] for fit in fits])[best, pick]
    return Curve(arm, float(today), a, b, exponents[best])


def _least_squares(
    x: NDArray[np.float64], errors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit error = a + b·x with a, b ≥ 0 to every row of ``errors`` (copies, points); return a, b and the squared residual."""
    centred = x - x.mean()
    b = np.maximum(0.0, (errors * centred).sum(axis=1) / (centred**2).sum())
    a = errors.mean(axis=1) - b * x.mean()
    through = (errors * x).sum(axis=1) / (x**2).sum()  # with a = 0
    a, b = np.where(a < 0, 0.0, a), np.where(a < 0, np.maximum(0.0, through), b)
    return a, b, ((errors - a[:, None] - b[:, None] * x) ** 2).sum(axis=1)


def _next(fit: Curve | None, metric: str, points: int) -> Measurement | None:
    if fit is None:
        return None
    gains = fit.error(fit.today) - fit.error(fit.today + _MORE)
    low, high = (float(value) for value in np.quantile(gains, (0.025, 0.975)))
    value = float(gains[0])
    return Measurement(
        name=metric, value=value, low=min(low, value), high=max(high, value), n=points, unit="", provenance="predicted",
        remark=f"gain of {_MORE} more labelled rows; power law through {points} sizes",
        remark_zh=f"再增加 {_MORE} 行标注带来的提升；由 {points} 个规模拟合的幂律推算",
    )  # fmt: skip
