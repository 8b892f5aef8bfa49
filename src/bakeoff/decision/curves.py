"""Learning curves: quality against labelled rows, several laws through them, what more rows would bring.

Error falls as a + b·x(n) with a, b ≥ 0, where x is a power law n^-c (Hestness et al. 2017), an exponential e^(-n/s) that levels off, or a
logarithm that does not; which of them holds is not known (Viering and Loog 2023 review them), so they are averaged by how well they fit
(Bayesian model averaging; Hoeting et al. 1999). The uncertainty comes from fitting noisy copies of the points, each with one law drawn by
its weight. Everything read off the fit is 'predicted'; no verdict on a candidate rests on it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import generator
from bakeoff.decision.posterior import Judging
from bakeoff.decision.view import Outcomes, View
from bakeoff.schema.decision import CurvePoint, LearningCurve
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.profile import Profile
from bakeoff.tasks.cells import cells, over_cells
from bakeoff.tasks.influence import influence
from bakeoff.tasks.scoring import statistic

MORE = 1000
"""Rows the value of more labels is stated for."""
REACH = 30.0
"""Curves are read up to this many times the rows there are; further out they say nothing."""
_EXPONENTS = np.linspace(0.1, 1.0, 19)
_SCALES = np.geomspace(0.05, 3.0, 14)
_PRIOR = np.r_[np.full(19, 0.5 / 19), np.full(14, 0.25 / 14), 0.25]
_COPIES = 150
_ARMS = 40
_LEAST = 2
_GRAIN = 1e-5
Table = NDArray[np.float64]


@lru_cache(maxsize=4096)
def _laws(rows: float, today: float) -> Table:
    """Return x(n) of every law (g,): powers, exponentials on the scale of today's rows, the logarithm that reaches zero at ``REACH``."""
    n = max(rows, 1.0)
    found: Table = np.r_[n**-_EXPONENTS, np.exp(-n / (_SCALES * today)), np.log(REACH * today / n)]
    return found


@dataclass(frozen=True)
class Curve:
    """A fitted curve of one arm: a, b and weight of every law (g,) through the points; of noisy copies (c,) a, b and which law."""

    arm: str
    today: float
    laws: tuple[Table, Table, Table]
    copies: tuple[Table, Table, NDArray[np.int64]]

    def error(self, rows: float) -> Table:
        """Return the predicted error with that many rows: (1 + c,), the average over laws first, then the copies."""
        x = _laws(rows, self.today)
        (a, b, weight), (each_a, each_b, which) = self.laws, self.copies
        found: Table = np.r_[(weight * (a + b * x)).sum(), each_a + each_b * x[which]]
        return found

    def slopes(self) -> Table:
        """Return what the average error is linear in (g,): one unit of each law."""
        _, b, weight = self.laws
        return b * weight

    def change(self, rows: float) -> float:
        """Return how much quality changes between today's rows and ``rows`` (negative with fewer)."""
        return float(self.slopes() @ (_laws(self.today, self.today) - _laws(rows, self.today)))


def changes(curves: list[Curve], rows: float) -> Table:
    """Return the change of each curve (k,), as ``Curve.change`` does; all in one product."""
    if not curves:
        return np.zeros(0)
    today = curves[0].today
    found: Table = np.stack([curve.slopes() for curve in curves]) @ (_laws(today, today) - _laws(rows, today))
    return found


def learning_curves(
    views: list[View], judging: Judging, profile: Profile, seed: int, confidence: float
) -> tuple[tuple[LearningCurve, ...], dict[str, Curve]]:
    """Return the curve of every arm judged on select, and the fits of those judged at two sizes or more."""
    arms: dict[str, list[View]] = defaultdict(list)
    for view in views:
        if view.selects and view.candidate.family != "ensemble":
            arms[view.candidate.arm].append(view)
    found = {
        arm: _points([seen for view in members for seen in view.selects], judging, profile, confidence)
        for arm, members in sorted(arms.items())
    }
    trained = {arm: found[arm] for arm in found if arms[arm][0].candidate.variant.trains}
    fits = fit_curves(trained, profile.split.train, seed)
    drawn = tuple(
        LearningCurve(
            arm=arm, label=arms[arm][0].candidate.variant.label, points=points,
            next_1000=_next(fits.get(arm), judging.metric, len(points)),
        )
        for arm, (points, _) in found.items()
    )  # fmt: skip
    return drawn, fits


def _points(
    seen: list[Outcomes], judging: Judging, profile: Profile, confidence: float
) -> tuple[tuple[CurvePoint, ...], Table]:
    """One point per share of training rows: mean over seeds on the largest set judged; and each point's standard error."""
    sizes: dict[float, dict[int, Outcomes]] = defaultdict(dict)
    for outcomes in sorted(seen, key=lambda item: (item.n, item.fidelity.seed)):
        sizes[outcomes.fidelity.fraction][outcomes.fidelity.seed] = outcomes
    points, noise = [], []
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    for fraction in sorted(sizes):
        seeds = [sizes[fraction][number] for number in sorted(sizes[fraction])]
        found = [_moments(one, judging) for one in seeds]
        value = float(np.mean([score for score, _ in found]))
        error = float(np.sqrt(found[0][1] / seeds[0].n + 0.25 / seeds[0].n ** 2))
        points.append(
            CurvePoint(
                rows=round(fraction * profile.split.train), value=value, low=max(0.0, value - z * error),
                high=min(1.0, value + z * error), seeds=len(seeds),
            )
        )  # fmt: skip
        noise.append(error)
    return tuple(points), np.array(noise)


def _moments(seen: Outcomes, judging: Judging) -> tuple[float, float]:
    """Return the score and the variance of its linearised row values."""
    if judging.metric == "roc_auc":
        values = influence(statistic("roc_auc", seen.actual, seen.predicted, seen.probabilities, judging.positive))
        return float(values.mean()), float(values.var())
    table = cells(seen.actual, seen.predicted)
    values = influence(over_cells(judging.metric, table, judging.positive), table.counts)
    share = table.counts / table.counts.sum()
    mean = float(share @ values)
    return mean, float(share @ (values - mean) ** 2)


def fit_curves(found: dict[str, tuple[tuple[CurvePoint, ...], Table]], today: int, seed: int) -> dict[str, Curve]:
    """Return the fits of the arms (points and their standard errors) that have two sizes or more; arms with the same sizes together."""
    alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for arm, (points, _) in found.items():
        rows = tuple(point.rows for point in points)
        if len(rows) >= _LEAST and min(rows) > 0:
            alike[rows].append(arm)
    fits = {}
    for rows, arms in alike.items():
        for start in range(0, len(arms), _ARMS):
            part = arms[start : start + _ARMS]
            errors = np.array([[1.0 - point.value for point in found[arm][0]] for arm in part])
            noise = np.array([found[arm][1] for arm in part])
            fits.update(_fitted(part, np.array(rows, dtype=np.float64), errors, noise, today, seed))
    return fits


def _fitted(arms: list[str], rows: Table, errors: Table, noise: Table, today: int, seed: int) -> dict[str, Curve]:
    """Fit noisy copies of the points; points share their select rows, so half of the noise is taken to be common."""
    laws = np.stack([_laws(float(n), float(today)) for n in rows], axis=1)
    spread = np.sqrt(0.5) * noise
    copies = np.repeat(errors[:, None, :], _COPIES + 1, axis=1)
    picks = np.empty((len(arms), _COPIES))
    for place, arm in enumerate(arms):
        random = generator(seed, "fit", arm)
        copies[place, 1:] += spread[place] * random.standard_normal((_COPIES, rows.size))
        picks[place] = random.random(_COPIES)
    a, b, squares = _least_squares(laws, copies)
    fit = -0.5 * squares / np.maximum((spread**2).mean(axis=1), _GRAIN**2)[:, None, None]
    weights = _PRIOR * np.exp(fit - fit.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    which = (np.cumsum(weights[:, 1:], axis=2) < picks[:, :, None]).sum(axis=2).clip(max=laws.shape[0] - 1)
    each_a = np.take_along_axis(a[:, 1:], which[:, :, None], axis=2)[:, :, 0]
    each_b = np.take_along_axis(b[:, 1:], which[:, :, None], axis=2)[:, :, 0]
    return {
        arm: Curve(arm, float(today), (a[i, 0], b[i, 0], weights[i, 0]), (each_a[i], each_b[i], which[i]))
        for i, arm in enumerate(arms)
    }


def _least_squares(laws: Table, errors: Table) -> tuple[Table, Table, Table]:
    """Fit error = a + b·x with a, b ≥ 0 for every law (g, p) to every row of ``errors`` (…, p); return a, b, squared residual (…, g)."""
    size = laws.shape[1]
    mean, total = laws.mean(axis=1), (laws**2).sum(axis=1)
    centred = laws - mean[:, None]
    level, along = errors.mean(axis=-1)[..., None], errors @ laws.T
    b = np.maximum(0.0, errors @ (centred / (centred**2).sum(axis=1, keepdims=True)).T)
    a = level - b * mean
    below = a < 0
    a, b = np.where(below, 0.0, a), np.where(below, np.maximum(0.0, along / total), b)
    squares = (errors**2).sum(axis=-1)[..., None] - 2.0 * (a * size * level + b * along)
    squares += size * a**2 + 2.0 * size * a * b * mean + b**2 * total
    return a, b, squares


def _next(fit: Curve | None, metric: str, points: int) -> Measurement | None:
    if fit is None:
        return None
    gains = fit.error(fit.today) - fit.error(fit.today + MORE)
    low, high = (float(value) for value in np.quantile(gains, (0.025, 0.975)))
    value = float(gains[0])
    return Measurement(
        name=metric, value=value, low=min(low, value), high=max(high, value), n=points, unit="", provenance="predicted",
        remark=f"gain of {MORE} more labelled rows; power, exponential and logarithmic laws through {points} sizes, averaged",
        remark_zh=f"再增加 {MORE} 行标注带来的提升；由 {points} 个规模拟合幂律、指数与对数三种曲线，加权平均推算",
    )  # fmt: skip
