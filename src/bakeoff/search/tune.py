"""Tuning the survivors: one more setting of a family that may still win, whenever the planner has nothing better to look at.

A proposed setting is an arm like any other: it is probed first, then the planner decides whether a look at it is worth its price. So tuning
stops by the same rules as everything else, and ``search.trials`` only caps it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from bakeoff import registry
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.space import Told
from bakeoff.schema.trial import Fidelity, Trial
from bakeoff.search.planner import State
from bakeoff.search.race import Race
from bakeoff.search.scene import Scene
from bakeoff.search.told import told
from bakeoff.search.tuning import propose, resolve, space_of, tuned_candidates, tuned_variant

BASES = 3
"""Listed settings around which a new one is proposed at a time, the most promising first."""
NEAR = 0.05
"""Chance of being better than the leader from which an arm counts as a survivor."""


def propose_arms(race: Race, scene: Scene, state: State) -> dict[str, tuple[Candidate, ...]]:
    """Return at most one new arm, with its paths, for every surviving family that may be tuned further."""
    method, _ = resolve(race.spec.search.tuner)
    if method == "none" or race.spec.search.trials <= 0:
        return {}
    found: dict[str, tuple[Candidate, ...]] = {}
    for base in islice(_bases(race, scene, state), BASES):
        for paths in _next(race, base, method):
            found[paths[0].arm] = paths
    return found


def probe(race: Race, candidate: Candidate) -> Trial:
    """Return the probe of a path."""
    fidelity = Fidelity(fraction=0.0, seed=race.spec.seed, split="select", probe=True)
    return Trial(candidate=candidate, purpose="probe", fidelity=fidelity)


def _bases(race: Race, scene: Scene, state: State) -> Iterator[str]:
    """Yield the listed arms around which survivors stand, the best first: settings are only compared around the same listed arm."""
    seen = set()
    order = sorted(range(len(scene.arms)), key=lambda place: (-state.belief.mean[place], scene.arms[place]))
    for place in order:
        one = race.first(scene.arms[place])
        near = place == state.leader or (state.p_better[place] >= NEAR and bool(scene.seen(place)))
        name = (one.family, one.variant.base or one.variant.name)
        if not near or not scene.alive[place] or name in seen:
            continue
        seen.add(name)
        base = f"{name[0]}.{name[1]}"
        if race.paths(base) and not _waiting(race, scene, base):
            yield base


def _waiting(race: Race, scene: Scene, base: str) -> bool:
    """Whether a setting of this base was proposed and not looked at yet, or enough were."""
    family, name = base.split(".", 1)
    mine = [
        place for place, arm in enumerate(scene.arms)
        if race.first(arm).family == family and race.first(arm).variant.base == name
    ]  # fmt: skip
    return len(mine) >= race.spec.search.trials or any(scene.alive[place] and not scene.seen(place) for place in mine)


def _next(race: Race, base: str, method: str) -> Iterator[tuple[Candidate, ...]]:
    """Yield the paths of the next setting around a listed arm; nothing when its family has no space or the space is used up."""
    paths = race.paths(base)
    variant, family = paths[0].variant, paths[0].family
    space = space_of(registry.plugin("models", family), variant, race.profile)
    if space is None:
        return
    known: tuple[Told, ...] = (
        *told(race.evidence, family, space, race.yardstick.score),
        *race.evidence.warm.get(base, ()),
    )
    taken = set(race.arms())
    for point in propose(space, known, method, race.spec.seed, 2):  # type: ignore[arg-type]
        made = tuned_variant(variant, space, point)
        if f"{family}.{made.name}" not in taken:
            yield tuned_candidates(paths, made)
            return
