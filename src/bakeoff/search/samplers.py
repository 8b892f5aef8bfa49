"""Optuna's samplers as functions: a study in memory is built from what was told, asked, and thrown away.

Optuna is imported here only, in the function that needs it, so that a bare install plans and decides without it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bakeoff.schema.base import canonical
from bakeoff.schema.space import Parameter, Point, Setting, Space, Told

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

STARTUP = 4
"""Points of the largest fraction that are waited for before a model is fitted."""
POPULATION = 12
"""Parents of NSGA-II; until as many points are known, points are random. Measured: better fronts than with 8 or 16."""
PRIORS = 16
"""Most points of earlier studies that stand beside own ones; every own point replaces one of them."""
FAILED = "failed"
"""Name of the constraint that a point which could not be built violates."""
_STEPS = 1000
_SPARE = 40


def asked(
    space: Space, told: Sequence[Told], method: str, seed: int, queue: Sequence[Point], wanted: Callable[[Point], bool],
    count: int,
) -> list[Point]:  # fmt: skip
    """Return up to ``count`` points that are ``wanted``, the queue's first, then what the sampler proposes.

    Args:
        space: where to look.
        told: own points and those of earlier studies.
        method: ``tpe``, ``gp`` or ``nsga2``.
        seed: of the sampler.
        queue: points to try first.
        wanted: says once for each point whether it is new.
        count: how many.

    """
    found: list[Point] = []
    with _quiet():
        study = _study(space, told, method, seed)
        for point in queue:
            study.enqueue_trial(_coded(space, point))
        for _ in range(len(queue) + count + _SPARE):
            if len(found) >= count:
                break
            point = _suggested(study.ask(), space)
            if wanted(point):
                found.append(point)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's log and its notes on experimental parts to itself, and leave both as they were."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _study(space: Space, told: Sequence[Told], method: str, seed: int) -> Study:
    import optuna

    sampler = _sampler(method, seed)
    two = method == "nsga2"
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"] if two else ["maximize"])
    own = sorted((point for point in told if not point.prior), key=_order)
    level = full_fraction(own)
    prior = [] if two else _chosen([point for point in told if point.prior and point.value is not None], len(own))
    names = sorted(
        {name for point in own for name in point.constraints} | ({FAILED} if any(p.failed for p in own) else set())
    )
    scale = _scale(own, level) if prior else (0.0, 1.0)
    trials = [_trial(space, point, names, (0.0, 1.0), 0.0, two=two) for point in prior]
    trials += [_trial(space, point, names, scale, level, two=two) for point in _valued(own)]
    if two:
        _generations(sampler, trials)
    study.add_trials(trials)
    return study


def _sampler(method: str, seed: int) -> BaseSampler:
    import optuna

    if method == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed, constant_liar=True)
    if method == "gp":
        return optuna.samplers.GPSampler(n_startup_trials=STARTUP, seed=seed, deterministic_objective=False)
    return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)


def _valued(own: Sequence[Told]) -> list[Told]:
    """Give a point that could not be built the lowest value seen and a long time; the constraint it breaks says the rest."""
    worst = min((point.value for point in own if point.value is not None), default=0.0)
    longest = max((point.seconds for point in own), default=0.0)
    return [
        point if point.value is not None else point.model_copy(update={"value": worst, "seconds": longest})
        for point in own
    ]


def full_fraction(told: Sequence[Told]) -> float:
    """Return the largest share of the training rows at which enough points are known to learn from; else the most usual one.

    What was built on less counts as stopped early, because scores on less data are lower (Falkner et al. 2018, BOHB).
    """
    fractions = sorted({point.fraction for point in told if point.value is not None}, reverse=True)
    counts = {level: sum(p.fraction >= level and p.value is not None for p in told) for level in fractions}
    enough = [level for level in fractions if counts[level] >= STARTUP]
    if enough:
        return enough[0]
    return max(fractions, key=lambda level: (sum(p.fraction == level for p in told), level), default=0.0)


def _scale(own: Sequence[Told], level: float) -> tuple[float, float]:
    """Return mean and deviation of own values, so that they can stand beside those of earlier studies."""
    values = [point.value for point in own if point.value is not None and point.fraction >= level]
    if len(values) < 2:
        return (float(values[0]) if values else 0.0), 1.0
    return float(np.mean(values)), float(np.std(values)) or 1.0


def _chosen(prior: Sequence[Told], own: int) -> list[Told]:
    """Return a spread over good and bad points of earlier studies: fewer, the more is known here."""
    ranked = sorted(prior, key=lambda point: (-(point.value or 0.0), canonical(point.params)))
    room = max(0, PRIORS - own)
    if len(ranked) <= room:
        return ranked
    return [ranked[int(place)] for place in np.unique(np.linspace(0, len(ranked) - 1, room).round())] if room else []


def _order(point: Told) -> tuple[float, str]:
    """Sort by content, so that the order in which points were told changes nothing."""
    return point.fraction, canonical(point.params)


def _trial(
    space: Space, point: Told, names: Sequence[str], scale: tuple[float, float], level: float, *, two: bool
) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    active = space.active(point.params)
    violated = {name: point.constraints.get(name, 0.0) for name in names if name != FAILED}
    if FAILED in names:
        violated[FAILED] = 1.0 if point.failed else 0.0
    facts: dict[str, Any] = {
        "params": _coded(space, active), "constraints": violated,
        "distributions": {name: _distribution(space.parameter(name)) for name in active},
    }  # fmt: skip
    value = ((point.value or 0.0) - scale[0]) / scale[1]
    if point.fraction < level and not point.prior:
        step = round(_STEPS * point.fraction)
        return create_trial(state=TrialState.PRUNED, intermediate_values={step: value}, **facts)
    return create_trial(values=[value, point.seconds] if two else [value], **facts)


def _generations(sampler: BaseSampler, trials: Sequence[FrozenTrial]) -> None:
    """Make everything told one generation: the next point's parents are then the best of all, whatever the order was."""
    key = f"{type(sampler).__name__}:generation"
    for trial in trials:
        if trial.values is not None:
            trial.system_attrs = {**trial.system_attrs, key: 0}


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind == "categorical":
        return CategoricalDistribution([canonical(choice) for choice in parameter.choices])
    low, high = float(parameter.low or 0.0), float(parameter.high or 0.0)
    if parameter.kind == "int":
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(low, high, log=parameter.log, step=parameter.step)


def _coded(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point in Optuna's values: a choice is its JSON text, because lists are no choices there."""
    return {
        name: canonical(value) if space.parameter(name).kind == "categorical" else value
        for name, value in point.items()
    }


def _suggested(trial: Trial, space: Space) -> Point:
    """Draw the parameters one after another, those whose condition holds."""
    found: Point = {}
    for parameter in space.parameters:
        if parameter.holds(found):
            found[parameter.name] = parameter.checked(_drawn(trial, parameter))
    return found


def _drawn(trial: Trial, parameter: Parameter) -> Setting:
    name, low, high = parameter.name, float(parameter.low or 0.0), float(parameter.high or 0.0)
    if parameter.kind == "categorical":
        texts = {canonical(choice): choice for choice in parameter.choices}
        return texts[trial.suggest_categorical(name, list(texts))]
    if parameter.kind == "int":
        return trial.suggest_int(name, int(low), int(high), log=parameter.log, step=int(parameter.step or 1))
    return trial.suggest_float(name, low, high, log=parameter.log, step=parameter.step)
