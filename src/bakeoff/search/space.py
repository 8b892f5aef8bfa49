"""The space: family × variant × compression × runtime, as far as plugins say the pieces fit together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from bakeoff import assets, registry
from bakeoff.models.base import ModelFamily
from bakeoff.runtimes.base import Runtime
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate, Unavailable, Variant
from bakeoff.schema.errors import SpecError, UserError
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec
from bakeoff.search.tuning import resolve

_NONE = Words(zh="", en="")


def compose(spec: Spec, profile: Profile) -> tuple[tuple[Candidate, ...], tuple[Unavailable, ...]]:
    """Return the candidates that can take part and those that cannot, with the reason and the command that would help.

    Raises:
        SpecError: the include and exclude patterns leave no candidate.
        UnavailableError: the tuner was named and cannot run here.

    """
    _, untuned = resolve(spec.search.tuner)
    candidates: list[Candidate] = []
    lacking: dict[str, Unavailable] = {}
    for candidate in _all(spec, profile):
        if not (_wanted(candidate.id, spec) and _asked_for(candidate.runtime, spec)):
            continue
        whole = (
            _rules(candidate.variant, spec)
            or _weights(candidate.variant)
            or _too_few(candidate.variant, profile.split.train)
        )
        why = whole or _not_installed(candidate)
        if why is None:
            candidates.append(candidate)
            continue
        # What stops a whole arm is said once, not once for every runtime it would have run on.
        name, label = (candidate.arm, candidate.variant.label) if whole else (candidate.id, candidate.label)
        lacking.setdefault(name, Unavailable(id=name, label=label, reason=why[0], command=why[1]))
    unavailable = list(lacking.values())
    if not any(candidate.family != "baseline" for candidate in candidates):
        _refuse(spec, unavailable)
    if untuned is not None and spec.search.trials:
        unavailable.append(untuned)
    return tuple(candidates), tuple(unavailable)


def _refuse(spec: Spec, unavailable: list[Unavailable]) -> None:
    if unavailable:
        first = unavailable[0]
        what = f"none of the {len(unavailable)} candidates asked for is available, e.g. {first.id}: {first.reason.en}"
        raise SpecError([UserError(what, where="candidates", try_=first.command)])
    what = "the patterns match no candidate"
    got = f"include {list(spec.candidates.include)}, exclude {list(spec.candidates.exclude)}"
    raise SpecError([UserError(what, where="candidates", got=got, try_="bakeoff catalog lists every candidate id")])


def still_wanted(candidates: Sequence[Candidate], spec: Spec) -> tuple[Candidate, ...]:
    """Return those of the measured candidates that another specification's patterns still let take part.

    Raises:
        SpecError: none is left.

    """
    left = tuple(candidate for candidate in candidates if _wanted(_listed_as(candidate), spec))
    if not any(candidate.family != "baseline" for candidate in left):
        _refuse(spec, [])
    return left


def _listed_as(candidate: Candidate) -> str:
    """Return the id of the listed candidate that a tuned setting stands around: patterns speak of what is listed."""
    variant = candidate.variant
    return f"{candidate.family}.{variant.base or variant.name}.{candidate.compression}.{candidate.runtime}"


def _wanted(name: str, spec: Spec) -> bool:
    if name.startswith("baseline."):  # doing nothing is always the yardstick
        return True
    rules = spec.candidates
    included = any(fnmatchcase(name, pattern) for pattern in rules.include)
    return included and not any(fnmatchcase(name, pattern) for pattern in rules.exclude)


def _asked_for(name: str, spec: Spec) -> bool:
    """Return whether a runtime takes part: one that is only tried on request must be named, a bare ``*`` does not do."""
    if not registry.plugin("runtimes", name).traits.on_request or spec.preset == "rigorous":
        return True
    asked = (pattern.rpartition(".")[2] for pattern in spec.candidates.include)
    return any(last.strip("*") and fnmatchcase(name, last) for last in asked)


def _all(spec: Spec, profile: Profile) -> Iterator[Candidate]:
    for family_name, family in registry.plugins("models").items():
        if spec.task not in family.traits.tasks:
            continue
        for variant in family.variants(spec, profile):
            if variant.tasks and spec.task not in variant.tasks:
                continue
            if variant.languages and spec.task == "text-classification" and profile.language not in variant.languages:
                continue
            yield from _paths(family_name, family, variant)


def _paths(family_name: str, family: ModelFamily, variant: Variant) -> Iterator[Candidate]:
    """Every way from the family's native format to a runtime: directly, exported, exported and compressed."""
    runtimes = registry.plugins("runtimes")
    native = family.traits.formats if not variant.params.get("format") else (str(variant.params["format"]),)
    for name, runtime in runtimes.items():
        if name in family.traits.excuses or f"{variant.name}:{name}" in family.traits.excuses:
            continue
        direct = any(form in runtime.traits.loads for form in native)
        targets = [form for form in family.traits.exports if not _excused(family, native, form)]
        exported = [form for form in targets if form in runtime.traits.loads]
        if direct or exported:
            yield _candidate(family_name, variant, "none", name, runtime)
        for pass_name in family.traits.compressible:
            compression = registry.plugins("compression").get(pass_name)
            if compression is None or f"{variant.name}:{pass_name}" in family.traits.excuses:
                continue
            reaches = any(form in compression.traits.consumes for form in (*native, *targets))
            if reaches and compression.traits.produces in runtime.traits.loads:
                yield _candidate(family_name, variant, pass_name, name, runtime)


def _excused(family: ModelFamily, native: Sequence[str], target: str) -> bool:
    return any(f"{form}:{target}" in family.traits.excuses for form in native)


def _candidate(family_name: str, variant: Variant, compression: str, runtime_name: str, runtime: Runtime) -> Candidate:
    squeezed = registry.plugins("compression")[compression].traits.label if compression != "none" else _NONE
    where = runtime.traits.label
    native = runtime_name in {"native", "composite", "llama_cpp", "openai_api"} and compression == "none"
    label = variant.label
    if not native:
        label = Words(
            zh="，".join(part for part in (variant.label.zh, squeezed.zh, where.zh) if part),
            en=", ".join(part for part in (variant.label.en, squeezed.en, where.en) if part),
        )
    return Candidate(family=family_name, variant=variant, compression=compression, runtime=runtime_name, label=label)


def _not_installed(candidate: Candidate) -> tuple[Words, str | None] | None:
    """Return the first library this path needs and lacks, with the command that installs it."""
    family: ModelFamily = registry.plugin("models", candidate.family)
    runtime: Runtime = registry.plugin("runtimes", candidate.runtime)
    needs = [family.traits.needs, runtime.traits.needs]
    if candidate.compression != "none":
        needs.append(registry.plugin("compression", candidate.compression).traits.needs)
    if not any(form in runtime.traits.loads for form in family.traits.formats):
        needs.append(family.traits.export_needs)
    for need in needs:
        lacking = registry.missing(need)
        if lacking:
            names = ", ".join(lacking)
            command = f"pip install 'bakeoff[{need.extra}]'" if need.extra else f"pip install {' '.join(lacking)}"
            return Words(zh=f"没有安装 {names}", en=f"{names} is not installed"), command
    return None


def _rules(variant: Variant, spec: Spec) -> tuple[Words, str | None] | None:
    if variant.remote and not spec.risk.data_may_leave:
        return (
            Words(
                zh="数据不得离开本地，而它要把每一行发给远端模型",
                en="rows may not leave the premises and this sends each one to a remote model",
            ),
            "set risk.data_may_leave: true if that is acceptable",
        )
    allowed = spec.risk.licences
    if allowed is not None and variant.licence is not None and variant.licence not in allowed:
        return (
            Words(
                zh=f"权重许可证 {variant.licence} 不在允许的 {'、'.join(allowed)} 之内",
                en=f"licence of the weights ({variant.licence}) is not among those accepted ({', '.join(allowed)})",
            ),
            f"add {variant.licence} to risk.licences if it is acceptable",
        )
    return None


def _weights(variant: Variant) -> tuple[Words, str | None] | None:
    if (variant.weights is None and variant.hub is None) or assets.weights(variant.weights, variant.hub) is not None:
        return None
    if variant.hub is not None and variant.weights not in assets.recipes():
        return (
            Words(
                zh=f"权重 {variant.hub} 只在模型站上，本机没有",
                en=f"weights {variant.hub} are on a model hub and not on this machine",
            ),
            assets.hub_command(variant.hub),
        )
    return (
        Words(zh=f"本机没有权重 {variant.weights}", en=f"weights {variant.weights} are not on this machine"),
        f"bakeoff fetch {variant.weights}",
    )


def _too_few(variant: Variant, rows: int) -> tuple[Words, str | None] | None:
    if rows >= variant.min_rows:
        return None
    return (
        Words(
            zh=f"训练行只有 {rows}，至少需要 {variant.min_rows}",
            en=f"only {rows} training rows, at least {variant.min_rows} needed",
        ),
        None,
    )
