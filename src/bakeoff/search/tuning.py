"""Tuning inside a surviving family: which settings to try next, as a pure function of what was told so far.

Does: say which tuner a specification asks for, propose points, make a tuned variant and its candidates of a point.
Does not: run anything, read a ledger (``search.told`` does), decide who is tuned or when.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Literal, cast

import numpy as np

from bakeoff.schema.base import Words, canonical, content_key
from bakeoff.schema.candidate import Candidate, Strategy, Unavailable, Variant
from bakeoff.schema.errors import UnavailableError
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import STRATEGY, Point, Setting, Space, Told
from bakeoff.schema.spec import Tuner
from bakeoff.search.samplers import STARTUP, asked

__all__ = ["METHODS", "Method", "propose", "resolve", "space_of", "tuned_candidates", "tuned_variant"]

Method = Literal["tpe", "gp", "grid", "random", "nsga2", "none"]
METHODS: Mapping[Method, tuple[str, ...]] = {
    "tpe": ("optuna",), "gp": ("optuna", "torch", "scipy"), "nsga2": ("optuna",), "grid": (), "random": (), "none": (),
}  # fmt: skip
"""What each method needs; grid and random are our own, because a grid with conditions is none of Optuna's."""
_COMMAND = {"tpe": "tune", "nsga2": "tune", "gp": "tune,torch"}
_LABEL = Words(zh="超参数调优", en="tuning")
_EARLIER = 3
"""Best settings of earlier studies that are tried before the sampler is asked."""
_TRIES = 200


def resolve(tuner: Tuner) -> tuple[Method, Unavailable | None]:
    """Return the method a specification asks for, and for ``auto`` without Optuna why nothing is tuned.

    Raises:
        UnavailableError: a method was asked for by name and a library it needs is missing.

    """
    wanted: Method = "tpe" if tuner == "auto" else tuner
    lacking = [name for name in METHODS[wanted] if importlib.util.find_spec(name) is None]
    if not lacking:
        return wanted, None
    names, command = ", ".join(lacking), f"pip install 'bakeoff[{_COMMAND[wanted]}]'"
    if tuner != "auto":
        what = f"the tuner {wanted} needs {names}, which is not installed"
        raise UnavailableError(what, where="search.tuner", got=tuner, try_=command)
    reason = Words(
        zh=f"没有安装 {names}：每个家族只比较列出的设置，不在其间调优",
        en=f"{names} is not installed: the listed settings of each family are compared, nothing is tuned between them",
    )
    return "none", Unavailable(id="search.tuner", label=_LABEL, reason=reason, command=command)


def space_of(family: Any, variant: Variant, profile: Profile) -> Space | None:  # noqa: ANN401 - any family, ours or not
    """Return the space around a variant; None when its family has none (``traits.excuses['space']`` says why)."""
    declared = getattr(family, "space", None)
    return None if declared is None else cast("Space | None", declared(variant, profile))


def propose(
    space: Space, told: Sequence[Told], method: Method, seed: int, count: int, *, constraints: Sequence[str] | None = None
) -> tuple[Point, ...]:  # fmt: skip
    """Return up to ``count`` new points; the same arguments give the same points, in whatever order ``told`` comes.

    The default point comes first if nobody tried it, then the best settings of earlier studies, then (TPE and Gaussian process) some
    near the default, then the method's own.

    Args:
        space: where to look.
        told: what is known: own points, and those of earlier studies (``prior``).
        method: from ``resolve``.
        seed: of the study.
        count: how many points; fewer are returned when the space holds no more.
        constraints: names of the constraints that count; None: all of them.

    """
    if method == "none" or count <= 0:
        return ()
    if constraints is not None:
        kept = set(constraints)
        told = [
            point.model_copy(update={"constraints": {n: v for n, v in point.constraints.items() if n in kept}})
            for point in told
        ]
    texts = tuple(sorted({canonical(point) for point in told if point.prior or method in {"tpe", "gp", "nsga2"}}))
    done = tuple(sorted({canonical(space.active(point.params)) for point in told if not point.prior}))
    return tuple(dict(point) for point in _proposed(space.model_dump_json(), texts, done, method, seed, count))


@lru_cache(maxsize=128)
def _proposed(
    space_json: str, texts: tuple[str, ...], done: tuple[str, ...], method: Method, seed: int, count: int
) -> tuple[Point, ...]:
    """Remember what was proposed: a planner asks again after every trial, mostly about families that learnt nothing new."""
    space = Space.model_validate_json(space_json)
    told = [Told.model_validate_json(text) for text in texts]
    seen = set(done)

    def wanted(point: Point) -> bool:
        text = canonical(point)
        if text in seen:
            return False
        seen.add(text)
        return True

    if method == "grid":
        return tuple(point for point in _shuffled(space, seed) if wanted(point))[:count]
    queue = [space.default, *best_earlier(space, told)]
    if method == "random":
        return tuple(islice(filter(wanted, chain(queue, _random(space, seed))), count))
    if method != "nsga2":
        queue += _starting(space, seed, {*done, *map(canonical, queue)})
    found = asked(space, told, method, _seed(space, method, seed, len(done)), queue, wanted, count)
    rest = islice(filter(wanted, _random(space, seed)), count - len(found))  # where the sampler only repeats itself
    return (*found, *rest)


def best_earlier(space: Space, told: Sequence[Told]) -> list[Point]:
    """Return the best distinct settings of earlier studies, the best first, without the default."""
    ranked = sorted(
        (point for point in told if point.prior and not point.failed and point.value is not None),
        key=lambda point: (-(point.value or 0.0), canonical(point.params)),
    )
    points = {canonical(active): active for active in (space.active(point.params) for point in ranked)}
    points.pop(canonical(space.default), None)
    return list(points.values())[:_EARLIER]


def _seed(space: Space, *parts: Any) -> int:  # noqa: ANN401 - any JSON values
    return int(content_key("tune", space.key, *parts)[:7], 16)


def _random(space: Space, seed: int) -> Iterator[Point]:
    """Yield random points: one sequence per space and seed, whatever was told."""
    rng = np.random.default_rng(_seed(space, "random", seed))
    for _ in range(_TRIES):
        yield space.sample(rng)


def _starting(space: Space, seed: int, known: set[str]) -> list[Point]:
    """Return the points that are missing until a model can be fitted."""
    found: dict[str, Point] = {}
    for point in _near(space, seed):
        if len(known) + len(found) >= STARTUP:
            break
        if (text := canonical(point)) not in known:
            found[text] = point
    return list(found.values())


def _near(space: Space, seed: int) -> Iterator[Point]:
    """Yield points that keep about half of the default's settings: listed settings are good, and a tuner has few trials to find that out.

    Measured with LightGBM on the credit example: half a point of macro F1 after 13 trials either way, less scatter after four.
    """
    rng = np.random.default_rng(_seed(space, "near", seed))
    usual = space.default
    for _ in range(_TRIES):
        drawn = space.sample(rng)
        kept = {name for name in drawn if name in usual and rng.random() < 0.5}
        yield space.active({**drawn, **{name: usual[name] for name in kept}})


def _shuffled(space: Space, seed: int) -> list[Point]:
    """Return the grid in random order, the default first if it lies on it: a cut grid is then spread over the space."""
    points = list(space.grid())
    order = np.random.default_rng(_seed(space, "grid", seed)).permutation(len(points))
    usual = canonical(space.default)
    return sorted((points[at] for at in order), key=lambda point: canonical(point) != usual)


# ----------------------------------------------------------------------------------------------------- what comes of it


def tuned_variant(base: Variant, space: Space, point: Mapping[str, Any]) -> Variant:
    """Return the variant at a point of the space around ``base``; ``base`` itself at its default.

    The name is ``base-`` and eight hex digits of the settings' content, the label names the settings that changed, and the
    guesses of seconds are scaled where a parameter says that it costs time.
    """
    changed = space.changed(point)
    if not changed:
        return base
    params, strategy = _plain(base.params), base.strategy
    for name, value in changed.items():
        if name.startswith(STRATEGY):
            fields = {**dict(strategy or Strategy()), name.removeprefix(STRATEGY): value}
            strategy = Strategy.model_validate(fields)
        else:
            _write(params, name.split("."), value)
    root = base.base or base.name
    key = content_key("tuned", params, strategy)[:8]
    said = [(space.parameter(name).label, _said(value)) for name, value in changed.items()]
    label = Words(
        zh=f"{base.label.zh}（调优：{'，'.join(f'{what.zh} {how.zh}' for what, how in said)}）",
        en=f"{base.label.en} (tuned: {', '.join(f'{what.en} {how.en}' for what, how in said)})",
    )
    return base.model_copy(
        update={
            "name": f"{root}-{key}", "base": root, "label": label, "params": params, "strategy": strategy,
            "cost": space.cost(base.cost, point),
        }
    )  # fmt: skip


def tuned_candidates(paths: Sequence[Candidate], variant: Variant) -> tuple[Candidate, ...]:
    """Return the candidates of a tuned variant: one per path of its base that is still in, named like them."""
    return tuple(_relabelled(path, variant) for path in paths)


def _relabelled(path: Candidate, variant: Variant) -> Candidate:
    old, new, said = path.variant.label, variant.label, path.label
    label = Words(
        zh=new.zh + said.zh.removeprefix(old.zh) if said.zh.startswith(old.zh) else new.zh,
        en=new.en + said.en.removeprefix(old.en) if said.en.startswith(old.en) else new.en,
    )
    return path.model_copy(update={"variant": variant, "label": label})


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, Mapping) else value for name, value in params.items()}


def _write(params: dict[str, Any], path: Sequence[str], value: Setting) -> None:
    for part in path[:-1]:
        params = params.setdefault(part, {})
    params[path[-1]] = list(value) if isinstance(value, tuple) else value


def _said(value: Setting) -> Words:
    if value is None:
        return Words(zh="自动", en="automatic")
    if isinstance(value, bool):
        return Words(zh="是" if value else "否", en="yes" if value else "no")
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, tuple):
        text = "–".join(str(part) for part in value)
    return Words(zh=text, en=text)
