"""The state of a race, derived from the ledger each time it is asked for; nothing here survives a call of ``ask``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Elimination, Failure, Fidelity, Trial
from bakeoff.search.costs import CostModel, on_grid
from bakeoff.search.paired import Yardstick, yardstick_of
from bakeoff.search.planner import Look
from bakeoff.search.presets import Preset, build_seconds, predict_seconds, preset
from bakeoff.search.seen import Outcomes, Seen
from bakeoff.store.evidence import StudyEvidence

_RUNTIME_ORDER = ("native", "pytorch", "llama_cpp", "openai_api", "composite")


@dataclass
class Race:
    """Specification, evidence and what stages have concluded so far.

    Args:
        second_price: money one second of measuring costs.
        out: eliminations by candidate id.
        reached: the highest fidelity at which each arm has been judged.
        standing: (score, p_close) of each arm at its last look.
        made: candidates the search made up by tuning, by arm; their arms compete like those of the catalogue.
        finalists: candidates of the final, once known.
        stop: the rule that ended the looking, once it has ended.

    """

    spec: Spec
    evidence: StudyEvidence
    seen: Seen
    second_price: float = 0.0
    out: dict[str, Elimination] = field(default_factory=dict)
    reached: dict[str, Fidelity] = field(default_factory=dict)
    standing: dict[str, tuple[float, float]] = field(default_factory=dict)
    alive: list[str] = field(default_factory=list)
    combined: dict[str, Candidate] = field(default_factory=dict)
    made: dict[str, tuple[Candidate, ...]] = field(default_factory=dict)
    finalists: list[Candidate] = field(default_factory=list)
    stop: Words | None = None

    @property
    def profile(self) -> Profile:
        """The data's profile."""
        return self.evidence.profile

    @property
    def preset(self) -> Preset:
        """Settings of this run."""
        return preset(self.spec)

    @cached_property
    def _listed(self) -> dict[str, list[tuple[str, Candidate]]]:
        """Ids and candidates of every arm of the ledger that is no ensemble, the preferred path first."""
        found: dict[str, list[tuple[str, Candidate]]] = {}
        for candidate in self.evidence.candidates:
            if candidate.family != "ensemble":
                found.setdefault(candidate.arm, []).append((candidate.id, candidate))
        return {arm: sorted(paths, key=lambda path: preference(path[1])) for arm, paths in found.items()}

    @property
    def singles(self) -> list[Candidate]:
        """Every candidate but the ensembles: the catalogue's in its order, then those made by tuning."""
        listed = [candidate for candidate in self.evidence.candidates if candidate.family != "ensemble"]
        return listed + [one for arm, paths in self.made.items() if arm not in self._listed for one in paths]

    @cached_property
    def costs(self) -> CostModel:
        """What steps take, as far as this study and earlier ones on this machine know."""
        return CostModel.of_study(self.evidence)

    @cached_property
    def yardstick(self) -> Yardstick:
        """What arms are compared by."""
        return yardstick_of(self.spec, self.profile)

    @cached_property
    def zone(self) -> float:
        """The difference that does not matter, in units of what arms are compared by.

        Where mistakes have prices of their own, answers are worth 0 to 1 of the dearest mistake; a difference in quality of the zone is
        then worth that share of an average mistake.
        """
        zone, payoff = self.spec.decision.indifference.quality, self.yardstick.payoff
        if payoff is None:
            return zone
        wrong = (1.0 - payoff)[~np.eye(len(payoff), dtype=np.bool_)]
        return max(zone * float(wrong.mean()), 1e-9)

    @property
    def most_arms(self) -> int:
        """Most arms that may ever take part: those there are, and those tuning may still add."""
        listed = sum(1 for arm in self.arms() if self.first(arm).variant.base is None)
        trials = self.spec.search.trials if self.spec.search.tuner != "none" else 0
        return max(len(self.arms()), listed * (1 + trials))

    def arms(self) -> list[str]:
        """Every arm that is no ensemble, whether still in or not, in the order of the catalogue."""
        return list(dict.fromkeys([*self._listed, *self.made]))

    def first(self, arm: str) -> Candidate:
        """Any path of an arm: what it is and how it is trained is the same for all."""
        return self._listed[arm][0][1] if arm in self._listed else self.made[arm][0]

    def price(self, trial: Trial) -> float:
        """Predicted seconds a trial would add, on a coarse grid, so that plans do not hang on microseconds."""
        return self.costs.planning(trial)

    @cached_property
    def spent(self) -> float:
        """CPU seconds of the looks taken so far, on the grid that prices are on; spent and price are the same currency."""
        looks = [
            row.result
            for row in self.evidence.results
            if row.result.purpose == "rung" and not row.result.fidelity.probe
        ]
        return sum(on_grid(result.cpu_seconds) for result in looks if result.cpu_seconds > 0)

    def fidelity(self, arm: str, shares: Sequence[float], look: Look) -> Fidelity:
        """Return the fidelity in the ledger of a look the planner speaks of as a share of the arm's largest."""
        mine = [
            item for item in self.seen.judged(arm)
            if abs(min(1.0, item[0].fraction / shares[-1]) - look.share) < 1e-6 and item[0].seed == look.seed
        ]  # fmt: skip
        return max(mine, key=lambda item: len(item[2]))[0]

    def paths(self, arm: str) -> list[Candidate]:
        """The arm's paths that are still in, preferred one first: the library it was trained with, then exports."""
        if arm in self.combined:
            return [self.combined[arm]] if self.combined[arm].id not in self.out else []
        if arm in self._listed:
            return [candidate for name, candidate in self._listed[arm] if name not in self.out]
        return sorted((one for one in self.made.get(arm, ()) if one.id not in self.out), key=preference)

    def drop(self, candidates: Iterable[Candidate], kind: str, reason: Words, **facts: object) -> None:
        """Record that these candidates go no further; the first reason stays."""
        for candidate in candidates:
            fields = {"candidate": candidate.id, "kind": kind, "reason": reason, **facts}
            self.out.setdefault(candidate.id, Elimination.model_validate(fields))

    def outcomes(self, arm: str) -> Outcomes | None:
        """Per-row outcomes of an arm at the highest fidelity it was judged at."""
        fidelity = self.reached.get(arm)
        if fidelity is None:
            return None
        mine = (
            [self.combined[arm]] if arm in self.combined else [candidate for _, candidate in self._listed.get(arm, [])]
        )
        found = (self.seen.outcomes(candidate, fidelity) for candidate in mine)
        return next((outcomes for outcomes in found if outcomes is not None), None)

    def seconds(self, trial: Trial) -> float:
        """Predicted seconds of one trial, from the shipped priors: the budget's currency, so that plans do not depend on the clock."""
        rows = trial.fidelity.fraction * self.profile.split.train if trial.candidate.variant.trains else 0
        judged = trial.fidelity.limit or self.profile.split.select
        if trial.purpose == "probe":
            return build_seconds(trial.candidate, 0) + predict_seconds(trial.candidate, 20)
        if trial.purpose == "risk":
            return predict_seconds(trial.candidate, 1500)
        if trial.round:
            return predict_seconds(trial.candidate, 100)
        return build_seconds(trial.candidate, rows) + predict_seconds(trial.candidate, judged)


def preference(candidate: Candidate) -> tuple[bool, int, str]:
    """Order an arm's paths by what is nearest to how it was trained; never by timings, which differ between runs."""
    place = _RUNTIME_ORDER.index(candidate.runtime) if candidate.runtime in _RUNTIME_ORDER else len(_RUNTIME_ORDER)
    return candidate.compression != "none", place, candidate.id


def failed(failure: Failure) -> Words:
    """Say that a trial failed, with its reason."""
    why = failure.clause
    return Words(zh=f"运行失败（{failure.code}）{why.zh}", en=f"failed ({failure.code}){why.en}")
