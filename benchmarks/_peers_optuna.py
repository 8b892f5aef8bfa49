"""Optuna's own samplers and pruner on a recorded table: TPE, TPE with the Hyperband pruner, and the Gaussian process.

A trial suggests a family and its settings; numbers are suggested as the rank of the values that occur, words as categories. What is suggested
becomes the nearest arm of that family, so that every trial is a row of the table; a row seen before costs nothing and counts as a trial.
Samplers and pruner are as Optuna ships them. The Gaussian process knows no conditional settings (it falls back to random draws for them), so
it is given all settings of all families in every trial.

Sources: Bergstra et al. 2011 (TPE); Li et al. 2018 (Hyperband); Falkner, Klein and Hutter 2018 (both); Akiba et al. 2019 (Optuna).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bakeoff.search.replay import Replay
from benchmarks._peers import Trajectory, Walk, eta_of, families_of
from benchmarks._peers_frugal import scaled

if TYPE_CHECKING:
    import optuna


_PATIENCE = 25
"""Trials in a row that suggest nothing new, after which the sampler has converged; fewer for the Gaussian process, which draws no lots."""
_GAUSSIAN_PATIENCE = 8


class Space:
    """The arms as a space that Optuna can suggest in.

    Args:
        walk: whose arms.
        flat: suggest every family's settings in every trial.

    """

    def __init__(self, walk: Walk, *, flat: bool) -> None:
        table = walk.replay.table
        self._flat = flat
        self._arms = {table.arms[mine[0]].family: [int(arm) for arm in mine] for mine in families_of(walk)}
        self._place = {name: scaled([table.arms[arm] for arm in mine]) for name, mine in self._arms.items()}
        self._params = {name: [table.arms[arm].params for arm in mine] for name, mine in self._arms.items()}

    @cached_property
    def _kinds(self) -> dict[str, dict[str, list[object]]]:
        """Per family and setting the values that occur: numbers ascending, anything else in order of appearance."""
        found: dict[str, dict[str, list[object]]] = {}
        for family, params in self._params.items():
            names = dict.fromkeys(name for one in params for name in one)
            values = {name: [one.get(name) for one in params] for name in names}
            found[family] = {name: _kinds(mine) for name, mine in values.items() if len(_kinds(mine)) > 1}
        return found

    def suggest(self, trial: optuna.Trial) -> int:
        """Return the arm nearest to what the trial suggests."""
        family = str(trial.suggest_categorical("family", list(self._arms)))
        chosen: dict[str, object] = {}
        for other, kinds in self._kinds.items():
            if not self._flat and other != family:
                continue
            found = {name: self._value(trial, f"{other}.{name}", values) for name, values in kinds.items()}
            chosen = found if other == family else chosen
        params = self._params[family]
        misses = [
            sum(_miss(one.get(name), value, self._kinds[family][name]) for name, value in chosen.items())
            for one in params
        ]
        return self._arms[family][int(np.argmin(misses))]

    def _value(self, trial: optuna.Trial, name: str, values: list[object]) -> object:
        if _numeric(values):
            return values[trial.suggest_int(name, 0, len(values) - 1)]
        words = [repr(value) for value in values]
        return values[words.index(str(trial.suggest_categorical(name, words)))]


def _numeric(values: list[object]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _kinds(values: list[object]) -> list[object]:
    if _numeric(values):
        return sorted(set(values), key=lambda value: float(str(value)))
    return list({repr(value): value for value in values}.values())


def _miss(value: object, wanted: object, kinds: list[object]) -> float:
    """Distance of a setting from the wanted one: share of the range for numbers, 0 or 1 for words."""
    if not _numeric(kinds):
        return float(repr(value) != repr(wanted))
    return abs(kinds.index(value) - kinds.index(wanted)) / (len(kinds) - 1)


def tpe(replay: Replay, budget: float, seed: int) -> Trajectory:
    """Tree-structured Parzen estimator, every trial at the full share."""
    import optuna

    return _full(replay, budget, lambda: optuna.samplers.TPESampler(seed=seed), _PATIENCE, flat=False)


def gaussian(replay: Replay, budget: float, seed: int) -> Trajectory:
    """Gaussian process with expected improvement, every trial at the full share."""
    import optuna

    def make() -> optuna.samplers.BaseSampler:
        return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)

    return _full(replay, budget, make, _GAUSSIAN_PATIENCE, flat=True)


def _full(
    replay: Replay, budget: float, make: Callable[[], optuna.samplers.BaseSampler], patience: int, *, flat: bool
) -> Trajectory:
    walk = Walk(replay, budget)
    space = Space(walk, flat=flat)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = _study(make())
        idle = 0
        while walk.open and idle < patience and len(walk.seen) < walk.arms.size:
            trial, before = study.ask(), len(walk.seen)
            study.tell(trial, walk.look(space.suggest(trial), walk.top))
            idle = idle + 1 if len(walk.seen) == before else 0
    return walk.trail


def hyperband(replay: Replay, budget: float, seed: int) -> Trajectory:
    """TPE with the Hyperband pruner: a trial climbs the shares until it is pruned."""
    import optuna

    walk = Walk(replay, budget)
    space, fractions = Space(walk, flat=False), replay.table.fractions
    steps = [round(share / fractions[0]) for share in fractions]
    pruner = optuna.pruners.HyperbandPruner(1, steps[-1], eta_of(fractions))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = _study(optuna.samplers.TPESampler(seed=seed), pruner, name=f"replay-{seed}")
        idle = 0
        while walk.open and idle < _PATIENCE:
            trial, before = study.ask(), len(walk.seen)
            _climb(walk, study, trial, space.suggest(trial), steps)
            idle = idle + 1 if len(walk.seen) == before else 0
    return walk.trail


def _climb(walk: Walk, study: optuna.Study, trial: optuna.Trial, arm: int, steps: list[int]) -> None:
    """Look at growing shares until the pruner or the budget says no."""
    import optuna

    score = 0.0
    for level, step in enumerate(steps):
        if not walk.open:
            return
        score = walk.look(arm, level)
        trial.report(score, step)
        if level < walk.top and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, score)


def _study(
    sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner | None = None, name: str = "replay"
) -> optuna.Study:
    """Return a study in memory that says nothing; the pruner draws its brackets from the study's name."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        direction="maximize", sampler=sampler, pruner=pruner or optuna.pruners.NopPruner(), study_name=name
    )
