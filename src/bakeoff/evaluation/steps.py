"""From a trial to its steps: a pure function. A step's key addresses the content of everything that goes into it.

So the same build serves every compression and runtime after it, a second run finds everything done, and a change of data,
parameters, versions, host or protocol asks for exactly the steps it touches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bakeoff import assets, registry
from bakeoff.evaluation.environment import environment_key, host
from bakeoff.evaluation.job import StepPlan
from bakeoff.evaluation.timing import protocol
from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.base import content_key
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import FamilyTraits, PassTraits, RuntimeTraits
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Environment, Fidelity, StepKind, Trial
from bakeoff.tasks.base import cost_matrix

_CODE = {"build": 1, "export": 1, "compress": 1, "load": 1, "predict": 1, "time": 1, "risk": 1}
"""Raise one when the step finds something else for the same content; part of its keys."""
_CALIBRATE_SECONDS = {"quick": 5.0, "standard": 20.0, "rigorous": 60.0}
_CALIBRATE_ROWS = {"quick": 24, "standard": 64, "rigorous": 128}


@dataclass(frozen=True)
class Facts:
    """What steps depend on besides trial and specification.

    Args:
        data: fingerprint of the frozen data.
        candidates: by id, to find an ensemble's members.
        calibrate: rows of the calibrate split.
        place: the machine that is measured on, None for this one.
        processes: that train together where a family can.

    """

    data: str
    classes: tuple[str, ...]
    inputs: tuple[InputColumn, ...]
    language: str
    calibrate: int
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    place: Environment | None = None
    processes: int = 1


def steps_of(trial: Trial, spec: Spec, facts: Facts) -> tuple[StepPlan, ...]:
    """Return the steps of a trial in the order they are done.

    Every trial builds (then exports and compresses as its stack asks) and loads; a probe is timed; a rung predicts; a round of the
    final is timed and predicts; a risk trial runs its checks instead.

    Raises:
        StepError: code 'unsupported': the family, pass and runtime of this stack do not fit together.

    """
    made = make_steps(trial, spec, facts)
    artifact = made[-1].key
    runtime: RuntimeTraits = registry.plugin("runtimes", trial.candidate.runtime).traits
    packages = registry.versions(runtime.needs)
    loaded = [trial.candidate.runtime, runtime.version, packages, spec.measuring.threads]
    if trial.purpose == "risk":
        return (*made, *(_check(trial, spec, facts, name, artifact, loaded) for name in trial.checks))
    place = environment_key(facts.place or host(spec.measuring.threads))
    load = _step("load", "load", (artifact,), [artifact, loaded, place], packages)
    timed = _timed(trial, spec, artifact, [loaded, place], packages)
    predict = _step(
        "predict", "predict", (artifact,), [artifact, loaded, trial.fidelity.split, trial.fidelity.limit], packages
    )
    if trial.fidelity.probe:
        return (*made, load, timed)
    return (*made, load, predict) if trial.round is None else (*made, load, timed, predict)


def make_steps(trial: Trial, spec: Spec, facts: Facts) -> tuple[StepPlan, ...]:
    """Return build, and export and compress where the stack asks for them."""
    candidate = trial.candidate
    family: FamilyTraits = registry.plugin("models", candidate.family).traits
    runtime: RuntimeTraits = registry.plugin("runtimes", candidate.runtime).traits
    steps = [_build(trial, spec, facts, family)]
    if candidate.compression == "none":
        if not set(family.formats) & set(runtime.loads):
            steps.append(_export(candidate, family, runtime.loads, steps[-1]))
        return tuple(steps)
    compression: PassTraits = registry.plugin("compression", candidate.compression).traits
    if not set(family.formats) & set(compression.consumes):
        steps.append(_export(candidate, family, compression.consumes, steps[-1]))
    if compression.produces not in runtime.loads:
        what = f"{candidate.compression} makes {compression.produces}, which {candidate.runtime} does not load"
        zh = f"{candidate.compression} 产出 {compression.produces}，{candidate.runtime} 无法加载"
        raise StepError("unsupported", what, zh=zh)
    packages = registry.versions(compression.needs)
    source = steps[-1].key
    parts = [source, candidate.compression, compression.version, packages, _settings(candidate)]
    detail = {"pass": candidate.compression, "loader": candidate.runtime}
    name = f"compress:{candidate.compression}"
    steps.append(_step("compress", name, (*steps[-1].inputs, source), parts, packages, detail))
    return tuple(steps)


def member_trial(trial: Trial, name: str, facts: Facts) -> Trial:
    """Return the trial whose build an ensemble uses as the member called ``name``."""
    if name not in facts.candidates:
        what = "an ensemble names a candidate that is not in the study"
        raise StepError("unsupported", what, zh=f"组合里的成员 {name} 不在本次选型的候选之中", got=name)
    fractions = trial.candidate.variant.params.get("fractions", {})
    fraction = (
        float(fractions.get(name, trial.fidelity.fraction)) if isinstance(fractions, dict) else trial.fidelity.fraction
    )
    fidelity = Fidelity(
        fraction=fraction, seed=trial.fidelity.seed, split=trial.fidelity.split, limit=trial.fidelity.limit
    )
    return Trial(candidate=facts.candidates[name], purpose="rung", fidelity=fidelity)


def calibrate_rows(candidate: Candidate, available: int, *, probe: bool, preset: str = "standard") -> int:
    """Return how many calibrate rows the rule is fitted on: all, or what a slow candidate predicts in the preset's seconds.

    It goes by the shipped prior, not by the clock, so that the same study always uses the same rows.
    """
    if probe:
        return 0
    per_row = candidate.variant.cost.predict_per_1000 / 1000
    fit = available if per_row <= 0 else int(_CALIBRATE_SECONDS[preset] / per_row)
    return min(available, max(_CALIBRATE_ROWS[preset], fit))


def _build(trial: Trial, spec: Spec, facts: Facts, family: FamilyTraits) -> StepPlan:
    candidate, fidelity = trial.candidate, trial.fidelity
    members = [make_steps(member_trial(trial, name, facts), spec, facts)[-1].key for name in candidate.members]
    packages = registry.versions(family.needs)
    loaders = {form: loader for form in family.formats if (loader := _loader(form)) is not None}
    rows = calibrate_rows(candidate, facts.calibrate, probe=fidelity.probe, preset=spec.preset)
    parts = [
        candidate.family, family.version, packages, _settings(candidate), _weights(candidate), members, spec.task, facts.data,
        facts.classes, [column.model_dump() for column in facts.inputs], facts.language, spec.data.instruction, spec.data.labels,
        fidelity.fraction, fidelity.seed, fidelity.probe, rows, cost_matrix(spec.value, facts.classes),
        {name: registry.plugin("runtimes", name).traits.version for name in sorted(set(loaders.values()))},
    ]  # fmt: skip
    if family.parallel and facts.processes > 1 and not fidelity.probe:
        parts.append(f"{facts.processes} processes")  # each draws its own dropout
    return _step("build", "build", tuple(members), parts, packages, {"loaders": loaders, "calibrate": rows})


def _export(candidate: Candidate, family: FamilyTraits, wanted: Sequence[str], source: StepPlan) -> StepPlan:
    target = next((form for form in family.exports if form in wanted), None)
    if target is None:
        what = f"{candidate.family} cannot be turned into {' or '.join(wanted)}"
        raise StepError("unsupported", what, zh=f"{candidate.family} 无法转换为 {' 或 '.join(wanted)}")
    packages = registry.versions(family.export_needs)
    runtime = registry.plugin("runtimes", candidate.runtime).traits
    detail = {"target": target, "loader": candidate.runtime if target in runtime.loads else _loader(target)}
    return _step(
        "export", f"export:{target}", (source.key,), [source.key, target, family.version, packages], packages, detail
    )


def _timed(trial: Trial, spec: Spec, artifact: str, where: list[Any], packages: dict[str, str]) -> StepPlan:
    plan = protocol(spec, trial)
    parts = [artifact, where, plan.model_dump(mode="json"), trial.fidelity.split, trial.round, spec.seed]
    return _step("time", "time", (artifact,), parts, packages, {"protocol": plan.model_dump(mode="json")})


def _check(trial: Trial, spec: Spec, facts: Facts, name: str, artifact: str, loaded: list[Any]) -> StepPlan:
    traits = registry.plugin("risk", name).traits
    packages = registry.versions(traits.needs)
    rules = [
        spec.risk.model_dump(mode="json"),
        spec.requirements.quality.metric,
        spec.data.positive,
        spec.task,
        facts.data,
        spec.seed,
    ]
    parts = [name, traits.version, packages, rules]
    if traits.scope != "data":
        candidate = trial.candidate
        parts += [
            artifact,
            loaded,
            trial.fidelity.model_dump(mode="json"),
            candidate.variant.licence,
            candidate.variant.remote,
        ]
    inputs = () if traits.scope == "data" else (artifact,)
    return _step("risk", f"risk:{name}", inputs, parts, packages, {"check": name, "scope": traits.scope})


def _step(
    kind: StepKind,
    name: str,
    inputs: tuple[str, ...],
    parts: list[Any],
    packages: dict[str, str],
    detail: dict[str, Any] | None = None,
) -> StepPlan:
    key = content_key(kind, _CODE[kind], name, parts)
    return StepPlan(key=key, kind=kind, name=name, inputs=inputs, packages=packages, detail=detail or {})


def _settings(candidate: Candidate) -> dict[str, Any]:
    """Return what of a variant changes what is built; labels, priors and licences do not."""
    return candidate.variant.model_dump(mode="json", include={"name", "params", "strategy", "weights", "hub"})


def _weights(candidate: Candidate) -> str | None:
    """Return the address of the pretrained weights' content."""
    name, hub = candidate.variant.weights, candidate.variant.hub
    recipe = assets.recipes().get(name) if name is not None else None
    if recipe is not None:
        return recipe.key
    return (_brought(hub) if hub is not None else None) or name


@cache
def _brought(hub: str) -> str | None:
    """Return what tells weights that people brought themselves from others; looked at once a process, for they are large."""
    folder = assets.weights(None, hub)
    return assets.fingerprint(folder) if folder is not None else None


def _loader(form: str) -> str | None:
    """Return the runtime that loads a format as it is built: the first by name, whichever candidate asked."""
    for name in registry.plugins("runtimes"):
        if form in registry.plugin("runtimes", name).traits.loads:
            return name
    return None
