"""The state of a race, derived from the ledger each time it is asked for; nothing here survives a call of ``ask``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Elimination, Failure, Fidelity, Trial
from bakeoff.search.presets import Preset, build_seconds, predict_seconds, preset
from bakeoff.search.seen import Outcomes, Seen
from bakeoff.store.evidence import StudyEvidence

_RUNTIME_ORDER = ("native", "pytorch", "llama_cpp", "openai_api", "composite")


@dataclass
class Race:
    """Specification, evidence and what stages have concluded so far.

    Args:
        out: eliminations by candidate id.
        reached: the highest fidelity at which each arm has been judged.
        standing: (score, p_close) of each arm at its last look.
        finalists: candidates of the final, once known.

    """

    spec: Spec
    evidence: StudyEvidence
    seen: Seen
    out: dict[str, Elimination] = field(default_factory=dict)
    reached: dict[str, Fidelity] = field(default_factory=dict)
    standing: dict[str, tuple[float, float]] = field(default_factory=dict)
    alive: list[str] = field(default_factory=list)
    combined: dict[str, Candidate] = field(default_factory=dict)
    finalists: list[Candidate] = field(default_factory=list)

    @property
    def profile(self) -> Profile:
        """The data's profile."""
        return self.evidence.profile

    @property
    def preset(self) -> Preset:
        """Settings of this run."""
        return preset(self.spec)

    @property
    def singles(self) -> list[Candidate]:
        """Every candidate but the ensembles, in the order of the catalogue."""
        return [candidate for candidate in self.evidence.candidates if candidate.family != "ensemble"]

    def paths(self, arm: str) -> list[Candidate]:
        """The arm's paths that are still in, preferred one first: the library it was trained with, then exports."""
        if arm in self.combined:
            return [self.combined[arm]] if self.combined[arm].id not in self.out else []
        mine = [candidate for candidate in self.singles if candidate.arm == arm and candidate.id not in self.out]
        return sorted(mine, key=preference)

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
        mine = [self.combined[arm]] if arm in self.combined else [c for c in self.singles if c.arm == arm]
        found = (self.seen.outcomes(candidate, fidelity) for candidate in sorted(mine, key=preference))
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
