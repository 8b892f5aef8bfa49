"""Figures from replays, each with a 95 % interval: bootstrap for means and ratios, Wilson (1927) for shares."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._search_runs import Added, Run, Steps
from benchmarks._stats import wilson

ZONE = 0.005
"""Half a point: what is indifferent."""
BINS = ((0.85, 0.925), (0.925, 0.97), (0.97, 1.0 + 1e-9))
"""Stated confidence around 90, 95 and 99 %."""
_DRAWS = 2000
Figure = dict[str, Any]
Array = NDArray[np.float64]


def share(hits: int, of: int) -> Figure:
    """A share with its Wilson interval."""
    if of == 0:
        return {"value": None, "n": 0}
    low, high = wilson(hits, of)
    return {"value": hits / of, "low": low, "high": high, "n": of}


def booted(values: Sequence[Array], statistic: Callable[..., Array]) -> Figure:
    """A statistic of paired columns (n,) with its percentile bootstrap interval; ``statistic`` works on the last axis."""
    columns = [np.asarray(column, dtype=np.float64) for column in values]
    rows = columns[0].size
    pick = np.random.default_rng(1).integers(0, rows, (_DRAWS, rows))
    drawn = statistic(*[column[pick] for column in columns])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": float(statistic(*columns)), "low": float(low), "high": float(high), "n": rows}


def mean(values: Array) -> Array:
    """Mean over the last axis."""
    return np.asarray(values.mean(axis=-1))


def geometric(values: Array) -> Array:
    """Geometric mean over the last axis."""
    return np.asarray(np.exp(np.log(values).mean(axis=-1)))


def ratio(top: Array, bottom: Array) -> Array:
    """Ratio of means over the last axis; infinite where the lower one is 0."""
    under = bottom.mean(axis=-1)
    return np.asarray(np.where(under > 0, top.mean(axis=-1) / np.where(under > 0, under, 1.0), np.inf))


def of_study(runs: Sequence[Run], wrong: Sequence[Run] = ()) -> Figure:
    """Everything about one study, ours and the peers'; ``wrong`` are replays with wrong prices."""
    cost = np.array([run.cost / run.whole for run in runs])
    lost = np.array([run.regret for run in runs])
    planner = np.array([run.planner for run in runs])
    spent = np.array([run.cost for run in runs])
    return {
        "replays": len(runs), "exhaustive_seconds": runs[0].whole,
        "cost": {"geometric": booted([cost], geometric), "median": float(np.median(cost)), "max": float(cost.max()),
                 "of_everything": float(np.exp(np.mean([math.log(run.cost / run.everything) for run in runs])))},
        "regret": {"mean": booted([lost], mean), "p95": float(np.quantile(lost, 0.95)), "max": float(lost.max())},
        "inside": share(int((lost <= ZONE).sum()), len(runs)),
        "reliability": reliability(runs),
        "rules": dict(Counter(run.rule for run in runs)), "moves": float(np.mean([run.moves for run in runs])),
        "planner_share": booted([planner, spent], ratio), "planner_seconds": float(planner.mean()),
        "wasted_seconds": float(sum(run.wasted for run in runs)), "separated": share(sum(run.separated for run in runs), len(runs)),
        "chosen": dict(Counter(run.arm for run in runs).most_common(3)),
        "peers": {name: against(runs, name) for name in dict.fromkeys(name for run in runs for name in run.peers)},
        "wrong_prices": _in_short(wrong) if wrong else None,
    }  # fmt: skip


def _in_short(runs: Sequence[Run]) -> Figure:
    lost = np.array([run.regret for run in runs])
    cost = np.array([run.cost / run.whole for run in runs])
    return {
        "cost": booted([cost], geometric),
        "regret": booted([lost], mean),
        "inside": share(int((lost <= ZONE).sum()), len(runs)),
    }


def reliability(runs: Sequence[Run]) -> Figure:
    """Stated confidence against how often it was right, overall, from 0.95 up, and around 90, 95 and 99 %."""

    def within(low: float, high: float) -> Figure:
        mine = [run for run in runs if low <= run.stated < high]
        right = share(sum(run.regret <= ZONE for run in mine), len(mine))
        return {"stated": float(np.mean([run.stated for run in mine])) if mine else None, "right": right}

    names = ("90", "95", "99")
    return {
        "all": within(0.0, 1.1), "from_95": within(0.95, 1.1),
        **{name: within(low, high) for name, (low, high) in zip(names, BINS, strict=True)},
    }  # fmt: skip


def at(steps: Steps, cost: float) -> float:
    """Regret of the incumbent after spending this share of the exhaustive cost."""
    return next(lost for spent, lost in reversed(steps) if spent <= cost + 1e-12)


def against(runs: Sequence[Run], name: str) -> Figure:
    """A peer at our cost in the same replays, and the cost it needs to be as good as we are."""
    both = [run for run in runs if name in run.peers]
    ours = np.array([run.regret for run in both])
    theirs = np.array([at(run.peers[name], run.cost / run.whole) for run in both])
    needs = reaches([run.peers[name] for run in both], float(ours.mean()))
    times = ratio(theirs, ours)
    return {
        "regret": booted([theirs], mean), "more_than_ours": booted([theirs - ours], mean), "ratio": float(times) if np.isfinite(times) else None,
        "inside": share(int((theirs <= ZONE).sum()), len(both)),
        "needs": needs, "needs_times_ours": None if needs is None else needs / float(geometric(np.array([run.cost / run.whole for run in both]))),
    }  # fmt: skip


def reaches(all_steps: Sequence[Steps], wanted: float) -> float | None:
    """Return the smallest share of the exhaustive cost at which the mean regret is no more than wanted; None if it never is."""
    grid = np.unique(np.round(np.array([spent for steps in all_steps for spent, _ in steps]), 4) + 1e-4)
    total = np.zeros(grid.size)
    for steps in all_steps:
        spent = np.array([one for one, _ in steps])
        lost = np.array([one for _, one in steps])
        total += lost[np.searchsorted(spent, grid, side="right") - 1]
    good = np.flatnonzero(total / len(all_steps) <= wanted + 1e-12)
    return float(grid[good[0]]) if good.size else None


def of_added(found: Sequence[Added]) -> Figure:
    """What a family added to a finished study costs, against evaluating that family exhaustively."""
    families = {}
    for name in dict.fromkeys(f"{one.study} {one.family}" for one in found):
        mine = [one for one in found if f"{one.study} {one.family}" == name]
        own = float(np.mean([one.own for one in mine]))
        families[name] = {"ratio": float(np.mean([one.extra for one in mine])) / own, "own_seconds": own}
    ratios = np.array([one.extra / one.own for one in found])
    return {
        "median": float(np.median(ratios)), "within": share(int((ratios <= 1.1).sum()), ratios.size),
        "of_all": float(sum(one.extra for one in found) / sum(one.own for one in found)), "families": families,
    }  # fmt: skip


def of_twins(found: Sequence[tuple[bool, bool]], runs: Sequence[Run]) -> Figure:
    """How often a planted twin or its original was declared better than everything else, and how often anything is where nothing was planted."""
    declared = sum(separated and chosen for separated, chosen in found)
    return {
        "declared_better": share(declared, len(found)), "chosen": share(sum(chosen for _, chosen in found), len(found)),
        "declared_better_without": share(sum(run.separated for run in runs), len(runs)),
    }  # fmt: skip


def overall(studies: dict[str, Figure], runs: Sequence[Run]) -> Figure:
    """The bars over all studies; a limit makes a study of its own, counted in every bar but the geometric mean's first figure."""
    plain = [name for name in studies if "@" not in name]
    costs = {name: float(study["cost"]["geometric"]["value"]) for name, study in studies.items()}
    trust = reliability(runs)
    lowest = {name: _lowest(study) for name, study in studies.items()}
    gaps = {
        name: trust[name]["right"]["value"] - trust[name]["stated"]
        for name in ("90", "95", "99")
        if trust[name]["right"]["n"]
    }
    planner = sum(run.planner for run in runs) / sum(run.cost for run in runs)
    return {
        "cost": {"value": float(geometric(np.array([costs[name] for name in plain]))),
                 "with_limits": float(geometric(np.array(list(costs.values())))), "worst": max(costs.values())},
        "reliability": trust, "gaps": gaps, "lowest": lowest, "planner_share": planner,
        "planner_share_worst": max(float(study["planner_share"]["value"]) for study in studies.values()),
        "wasted_seconds": float(sum(run.wasted for run in runs)),
    }  # fmt: skip


def _lowest(study: Figure) -> Figure:
    """Whether our mean regret is the lowest at our cost, who is lower, and who is higher beyond doubt."""
    gaps = {name: peer["more_than_ours"] for name, peer in study["peers"].items()}
    return {
        "lowest": all(gap["value"] >= 0 for gap in gaps.values()),
        "lower": [name for name, gap in gaps.items() if gap["value"] < 0],
        "lower_beyond_doubt": [name for name, gap in gaps.items() if gap["high"] < 0],
        "higher_beyond_doubt": [name for name, gap in gaps.items() if gap["low"] > 0],
    }


def met(total: Figure, added: Figure, twins: Figure, ask_ms: float) -> dict[str, bool]:
    """Which bars are met; who never declares anything better has not met the one about twins."""
    trust = total["reliability"]["from_95"]["right"]["value"]
    return {
        "cost": total["cost"]["value"] <= 0.10 and total["cost"]["worst"] <= 0.33,
        "inside_at_95": trust is not None and trust >= 0.95,
        "calibrated": len(total["gaps"]) == len(BINS) and all(abs(gap) <= 0.02 for gap in total["gaps"].values()),
        "nothing_wasted": total["wasted_seconds"] == 0.0,
        "lowest_regret": all(study["lowest"] for study in total["lowest"].values()),
        "planner": total["planner_share"] <= 0.02,
        "ask_time": ask_ms <= 50.0,
        "added_family": added["within"]["value"] >= 1.0,
        "twins": twins["declared_better"]["value"] <= 0.05 and twins["declared_better_without"]["value"] > 0.0,
    }  # fmt: skip
