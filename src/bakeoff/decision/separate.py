"""What the confirm rows can and cannot tell: the score corrected for having been selected, and the rows that would separate."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from bakeoff.decision.choose import Choice
from bakeoff.decision.figures import interval
from bakeoff.decision.world import Known, World
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Measurement

_MOST = 10_000_000


def optimism(world: World, known: Known, choice: Choice) -> float:
    """Return by how much the best finalist's score flatters it (winner's curse), from the bootstrap.

    In every draw the best of the finalists is picked anew; how much better it looks in that draw than on average is what
    selecting adds (Efron and Tibshirani 1993, ch. 17; Tibshirani and Tibshirani 2009).
    """
    ids = [world.views[int(index)].id for index in choice.pool]
    if len(ids) < 2:
        return 0.0
    drawn = np.stack([known.quality[name].sampling for name in ids])
    point = drawn.mean(axis=1)
    best = drawn.argmax(axis=0)
    picked = np.take_along_axis(drawn, best[None, :], axis=0)[0]
    return max(0.0, float((picked - point[best]).mean()))


def corrected_score(world: World, known: Known, choice: Choice, confidence: float) -> Measurement | None:
    """Return the recommended candidate's score less its optimism, with the interval moved along."""
    if choice.recommended is None:
        return None
    view = world.views[choice.recommended]
    quality, bias = known.quality[view.id], optimism(world, known, choice)
    low, high = interval(quality.sampling, confidence, quality.value)
    rows = view.judged.n if view.judged is not None else 0
    where = Words(zh="确认集", en="confirm") if view.final else Words(zh="选择集", en="select")
    remark = f"best of {choice.pool.size} on {where.en}; lowered by {bias:.4f} for having been selected"
    zh = f"{where.zh}上 {choice.pool.size} 个方案中最好的一个；因为是挑出来的，已下调 {bias:.4f}"
    return Measurement(
        name=known.judging.metric, value=max(0.0, quality.value - bias), low=max(0.0, low - bias), high=max(0.0, high - bias),
        confidence=confidence, n=rows, provenance="predicted" if quality.carried else "measured", remark=remark, remark_zh=zh,
    )  # fmt: skip


def rows_to_separate(world: World, known: Known, choice: Choice, confidence: float) -> int | None:
    """Return how many confirm rows would separate the leader from its nearest rival of another arm, None without a rival.

    The paired difference has mean d and row standard deviation s·√n; with n' rows its error is s·√(n/n'). Separated means: the
    better of "better with the stated confidence" and "within the indifference zone with that confidence".
    """
    lead = choice.lead
    if lead is None:
        return None
    others = choice.pool[world.arms[choice.pool] != world.arms[lead]]
    if others.size == 0:
        return None
    rival = int(max(others, key=lambda index: (choice.mean[index], -index)))
    ours, theirs = known.quality[world.views[lead].id], known.quality[world.views[rival].id]
    gap = ours.sampling - theirs.sampling
    judged, own = world.views[rival].judged, world.views[lead].judged
    if judged is not None and own is not None and np.array_equal(judged.predicted, own.predicted):
        return None  # the same answers: no number of rows is known to tell them apart
    effect = max(abs(float(gap.mean())), world.today.quality_zone)
    if judged is None or effect <= 0 or float(gap.std()) == 0:
        return None
    z = NormalDist().inv_cdf(confidence)
    return min(_MOST, max(judged.n, math.ceil(judged.n * (z * float(gap.std()) / effect) ** 2)))
