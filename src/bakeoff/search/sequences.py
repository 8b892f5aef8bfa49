"""Anytime-valid evidence on the mean of paired differences: look after every batch, the stated error rate still holds.

Does: test martingales by betting, confidence sequences by betting, empirical Bernstein and a large-sample normal mixture.
Does not know: candidates, metrics, files; rows are numbers in the order they were looked at.

**Betting** (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"; Shafer and Vovk 2019). A gambler who
stakes a share λ of his capital on every row has, after n of them, ``K(n) = Π (1 + λ (d_i - margin))``. While the mean of ``d`` is at most
``margin`` no stake earns anything on average, so the chance that the capital *ever* reaches 1/α is at most α (Ville 1939), however often it
was looked at. Stakes are spread over a fixed grid (a mixture of martingales is one), so that no stake has to be guessed; equal rows
(``d = 0``) cost nothing without a margin, so the power is that of the rows on which two candidates disagree. It is exact at every n
for rows drawn independently from the population, with known bounds of ``d``.

**Who is judged by it.** Of K arms, arm j is out when the capital against it, averaged over its K - 1 rivals, reaches 1/α (a rival not looked
at counts as bankrupt). For one arm that truly is best every rival's capital is a supermartingale, hence so is their average: the chance that it
is *ever* dropped is at most α, whoever leads when, in whatever order the arms were judged. (``beaten`` at α/(K - 1) for each pair is
the same promise by the union bound, a little weaker.) With a margin: an arm within the margin of the best is ever dropped with at most α.

What it does not promise: that an arm dropped on few training rows would have lost on all of them; that is the learning curve's question.
"""

from __future__ import annotations

from math import e, log, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

STAKES = np.array([0.02, 0.04, 0.07, 0.11, 0.16, 0.23, 0.32, 0.43, 0.56, 0.7, 0.84, 0.95])
"""Shares of the largest stake that can't lose everything on one row; equal capital starts on each."""
FIRST = 100
"""Rows from which a large-sample statement is made at all."""
_BLOCK = 128
"""Rows between logarithms: 0.05 ** 128 is still a number."""
_STEPS = 40
_RIVALS = 4
_PLENTY = 600.0
_CAUTION = 0.5


def log_wealth(differences: Floats, margin: float = 0.0, low: float = -1.0, high: float = 1.0) -> Floats:
    """Return the log capital (..., n) after each row of betting that the mean of ``differences`` (..., n) exceeds ``margin``.

    Args:
        differences: paired per-row differences in the order looked at, all inside [low, high]; NaN for a row without one (no bet).
        margin: the mean it has to exceed.
        low: smallest possible difference.
        high: largest possible difference.

    """
    found = np.asarray(differences, dtype=np.float64)
    flat = found.reshape(-1, found.shape[-1])
    if margin <= low or margin >= high:
        return np.full(found.shape, 0.0 if margin >= high else np.inf)
    gains = np.nan_to_num((flat - margin) / (margin - low), nan=0.0)
    logs = np.full((STAKES.size, flat.shape[0]), -log(STAKES.size))
    wealth = np.empty(flat.shape)
    for start in range(0, flat.shape[1], _BLOCK):
        block = gains[:, start : start + _BLOCK]
        peak = logs.max(axis=0)
        total = np.zeros(block.shape)
        for index, stake in enumerate(STAKES):
            run = np.cumprod(1.0 + stake * block, axis=1)
            total += np.exp(logs[index] - peak)[:, None] * run
            logs[index] += np.log(run[:, -1])
        wealth[:, start : start + _BLOCK] = np.log(total) + peak[:, None]
    return wealth.reshape(found.shape)


def beaten(differences: Floats, alpha: float, margin: float = 0.0, low: float = -1.0, high: float = 1.0) -> Flags:
    """Return whether, at some row so far, the bets prove that the mean of ``differences`` exceeds ``margin``: () or one per arm (A,).

    Args:
        differences: leader minus arm per row in the order looked at, (n,) or (A, n); NaN where one of the two was not judged.
        alpha: chance of ever saying so wrongly, over all looks at this pair.
        margin: the arm is beaten when it is worse by more than this.
        low: smallest possible difference.
        high: largest possible difference.

    """
    found = np.asarray(differences, dtype=np.float64)
    if found.shape[-1] == 0:
        return np.zeros(found.shape[:-1], dtype=np.bool_)
    said: Flags = log_wealth(found, margin, low, high).max(axis=-1) >= -log(alpha)
    return said


def doubts(
    values: Floats, margin: float = 0.0, low: float = -1.0, high: float = 1.0, arms: int | None = None
) -> Floats:
    """Return the smallest alpha (A,) at which each arm is proven worse than another by more than ``margin``: an anytime-valid p-value.

    Args:
        values: per arm and row (A, n), in the order looked at, larger is better; NaN where an arm was not judged.
        margin: difference that does not matter.
        low: smallest possible difference of two values.
        high: largest possible difference of two values.
        arms: how many arms were ever in the race (those out or not begun count); None for A.

    """
    rivals = max(1, (values.shape[0] if arms is None else arms) - 1)
    capital = np.zeros(values.shape)
    for rival in _leaders(values):
        won = np.exp(np.minimum(log_wealth(values[rival] - values, margin, low, high), _PLENTY))
        won[rival] = 0.0
        capital += won
    most: Floats = capital.max(axis=-1, initial=0.0)
    return np.minimum(1.0, rivals / np.maximum(most, np.finfo(np.float64).tiny))


def eliminated(
    values: Floats, alpha: float, margin: float = 0.0, low: float = -1.0, high: float = 1.0, arms: int | None = None
) -> Flags:
    """Return which arms (A,) are out: ``doubts`` of at most ``alpha``; see the module for what is promised."""
    said: Flags = doubts(values, margin, low, high, arms) <= alpha
    return said


def _leaders(values: Floats) -> NDArray[np.int64]:
    """Return the arms that are best now, among those judged on the most rows; only these are bet on, which proves no more."""
    seen = np.isfinite(values)
    judged = seen.sum(axis=1)
    means = np.where(judged > 0, np.nansum(values, axis=1) / np.maximum(judged, 1), -np.inf)
    order = np.lexsort((-means, -judged))
    return order[: min(_RIVALS, values.shape[0])].astype(np.int64)


def interval(differences: Floats, alpha: float, low: float = -1.0, high: float = 1.0) -> tuple[float, float]:
    """Return the confidence sequence of the mean at n by betting both ways: the running intersection, valid at every n at once.

    Capital against a mean m falls as m rises, so the ends are found by bisection.
    """
    rows = np.asarray(differences, dtype=np.float64)
    return _lower(rows, alpha / 2.0, low, high), -_lower(-rows, alpha / 2.0, -high, -low)


def _lower(rows: Floats, alpha: float, low: float, high: float) -> float:
    """Return the largest mean that the bets exclude from below, ``low`` if none."""
    wrong, right = low, high
    for _ in range(_STEPS):
        middle = 0.5 * (wrong + right)
        if middle <= low or middle >= high:
            break
        if bool(beaten(rows, alpha, middle, low, high)):
            wrong = middle
        else:
            right = middle
    return wrong


def bernstein(differences: Floats, alpha: float, low: float = -1.0, high: float = 1.0) -> tuple[Floats, Floats]:
    """Return the running intersection (..., n), (..., n) of the empirical-Bernstein confidence sequence with predictable weights.

    Waudby-Smith and Ramdas (2024), theorem 2; closed form and a little wider than ``interval``.
    """
    rows = (np.asarray(differences, dtype=np.float64) - low) / (high - low)
    count = np.arange(1, rows.shape[-1] + 1)
    means = (0.5 + np.cumsum(rows, axis=-1)) / (count + 1)
    spread = (0.25 + np.cumsum((rows - means) ** 2, axis=-1)) / (count + 1)
    guess, before = _shifted(means, 0.5), _shifted(spread, 0.25)
    weights = np.minimum(np.sqrt(2.0 * log(2.0 / alpha) / (before * count * np.log1p(count))), _CAUTION)
    paid = (rows - guess) ** 2 * (-np.log1p(-weights) - weights)
    total = np.cumsum(weights, axis=-1)
    middle = np.cumsum(weights * rows, axis=-1) / total
    half = (log(2.0 / alpha) + np.cumsum(paid, axis=-1)) / total
    lower = np.maximum.accumulate(np.clip(middle - half, 0.0, 1.0), axis=-1)
    upper = np.minimum.accumulate(np.clip(middle + half, 0.0, 1.0), axis=-1)
    return low + (high - low) * lower, low + (high - low) * upper


def _shifted(table: Floats, first: float) -> Floats:
    """Return what was known before each row."""
    moved = np.empty(table.shape)
    moved[..., 0], moved[..., 1:] = first, table[..., :-1]
    return moved


def asymptotic_half_width(rows: int, alpha: float, tuned: int = 500) -> float:
    """Return the one-sided half width, in standard deviations of a row, of the large-sample confidence sequence after ``rows`` rows.

    Normal mixture (Robbins 1970; Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and asymptotic
    confidence sequences"), narrowest at about ``tuned`` rows.
    """
    wanted = -2.0 * log(min(2.0 * alpha, 0.9))
    mixed = rows * (wanted + log(wanted + e)) / tuned
    return sqrt(2.0 * (mixed + 1.0) / (rows * mixed) * log(1.0 + sqrt(mixed + 1.0) / (2.0 * alpha)))


def beaten_asymptotically(
    differences: Floats, alpha: float, margin: float = 0.0, tuned: int = 500, first: int = FIRST
) -> Flags:
    """Return, for linearised metrics, whether the mean of ``differences`` (n,) or (A, n) exceeds ``margin`` at n; False below ``first`` rows.

    What it promises is less than ``beaten``: rows of a linearised metric (macro F1, area under the curve) have no known bounds and are
    computed from estimated class shares, so the error rate over all looks is α only in the limit of many rows. The variance gets
    one pseudo-row, because a sample without any disagreement would claim to know it is zero.
    """
    found = np.asarray(differences, dtype=np.float64)
    seen = np.isfinite(found)
    count = seen.sum(axis=-1)
    rows = np.maximum(count, 1)
    mean = np.where(seen, found, 0.0).sum(axis=-1) / rows
    squares = np.where(seen, (found - mean[..., None]) ** 2, 0.0)
    spread = np.sqrt((squares.sum(axis=-1) + np.maximum(1.0, squares.max(axis=-1, initial=0.0))) / rows)
    half = np.vectorize(lambda n: asymptotic_half_width(int(n), alpha, tuned), otypes=[np.float64])(rows)
    said: Flags = (count >= first) & (mean - half * spread > margin)
    return said
