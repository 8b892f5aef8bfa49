"""What the shipped priors say a step takes, part by part: the seconds that the cost model's factors multiply.

A part is written as a vector in the order of ``schema.costs.COST_PARTS``: building's fixed part and its rows, loading, rows predicted
in batches, single requests, exporting, compressing, and what a measuring step takes whatever it measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from bakeoff.schema.candidate import Candidate, CostPrior
from bakeoff.schema.profile import Profile
from bakeoff.schema.trial import Fidelity, StepResult, Trial
from bakeoff.search.prefix import StepId

Parts = tuple[float, float, float, float, float, float, float, float]
_TOKEN = {"zh": 1.5, "en": 4.5}
"""Characters a token stands for, measured with the multilingual E5 vocabulary."""
_TOKENS = 45.0
"""Tokens a row of the data has that the priors were measured on."""
_COLUMNS = 23
"""Columns of the table the priors were measured on."""
_LENGTHENS = 0.8
_REQUEST = 0.0003
_PROBE_REQUESTS, _ROUND_REQUESTS, _WARM_UP = 90, 110, 20
_OPEN_LOOP = 400
"""Requests of the search for the highest rate, in round 0."""
_CHECKED_ROWS = 150
_POOLING = frozenset({"pooling", "normalise", "prefix"})
_HEAD = 0.1
"""Share of the work of a training row that is the head's, with a frozen encoder; measured with multilingual E5-small."""
_NATIVE = "pytorch"
_MEMBERS = 3
"""Members of an ensemble that has none yet, as ``search.rungs`` chooses them."""
_EXPORT, _COMPRESS = 0.15, 0.15
_FIXED, _ROUND, _RATE, _CHECK = 0.05, 0.10, 0.20, 0.03
_CALIBRATE_ROWS, _CALIBRATE_SECONDS = 64, 20.0
_PER_ROW_READ = 0.0002
_AROUND = 4.0


class Embedded:
    """Rows whose vectors a study has already, by encoder and split; a frozen encoder reads every row once (``store.features``)."""

    def __init__(self, rows: Mapping[tuple[str, str], float] | None = None) -> None:
        self._rows = dict(rows or {})

    def copy(self) -> Embedded:
        """Return an independent copy."""
        return Embedded(self._rows)

    def fresh(self, encoder: str | None, split: str, rows: float) -> float:
        """Return how many of ``rows`` are still to be read: splits grow from their beginning."""
        return rows if encoder is None else max(0.0, rows - self._rows.get((encoder, split), 0.0))

    def note(self, encoder: str | None, split: str, rows: float) -> None:
        """Take note of rows that were read."""
        if encoder is not None:
            self._rows[encoder, split] = max(self._rows.get((encoder, split), 0.0), rows)


def encoder_of(candidate: Candidate) -> str | None:
    """Return what stands for the frozen encoder whose vectors candidates share, None where each computes its own."""
    variant = candidate.variant
    if candidate.family != "embedding_head" or variant.strategy is None or variant.strategy.freeze != "body":
        return None
    settings = sorted((name, str(value)) for name, value in variant.params.items() if name in _POOLING)
    return f"{variant.weights or variant.hub}:{variant.strategy.max_length}:{settings}"


@dataclass(frozen=True)
class Amounts:
    """The shipped guesses for one data set.

    Args:
        profile: of the data.
        candidates: by id, to find the members of an ensemble.

    """

    profile: Profile
    candidates: Mapping[str, Candidate] = field(default_factory=dict)

    @cached_property
    def tokens(self) -> float:
        """Tokens of an average row, 0 without text."""
        lengths = [column.mean_length or 0.0 for column in self.profile.columns if column.kind == "text"]
        return sum(lengths) / _TOKEN[self.profile.language]

    @property
    def around(self) -> float:
        """Seconds of a run outside of its steps."""
        return _AROUND + _PER_ROW_READ * self.profile.rows_read

    def size(self, candidate: Candidate) -> float:
        """How many times the work of a row is that of the priors' data: longer texts and wider tables take longer."""
        if self.tokens > 0:
            most = candidate.variant.strategy.max_length if candidate.variant.strategy is not None else self.tokens
            return float((min(self.tokens, most) / min(_TOKENS, most)) ** _LENGTHENS)
        columns = len(self.profile.columns)
        return float((columns / _COLUMNS) ** _LENGTHENS) if columns else 1.0

    def prior(self, candidate: Candidate) -> CostPrior:
        """Return the shipped guess; of an ensemble, loading and predicting are its members'.

        Of one that has no members yet, they are those of as many arms of the study as it may combine, average ones.
        """
        cost = candidate.variant.cost
        members = [self.candidates[name].variant.cost for name in candidate.members if name in self.candidates]
        count = len(members)
        if not members and candidate.family == "ensemble":
            members, count = self._combinable, _MEMBERS
        if not members:
            return cost
        return CostPrior(
            build_fixed=cost.build_fixed, build_per_1000=cost.build_per_1000,
            predict_fixed=count * fmean(member.predict_fixed for member in members),
            predict_per_1000=count * fmean(member.predict_per_1000 for member in members),
        )  # fmt: skip

    @cached_property
    def _combinable(self) -> list[CostPrior]:
        """Priors of the arms an ensemble might combine."""
        arms = {one.arm: one.variant for one in self.candidates.values() if one.family not in {"baseline", "ensemble"}}
        return [variant.cost for variant in arms.values() if variant.trains and not variant.remote]

    # ---------------------------------------------------------------------------------------------------------- steps

    def build(self, candidate: Candidate, rows: float, *, probe: bool, embedded: Embedded | None = None) -> Parts:
        """Return the parts of building on ``rows`` training rows, less what a frozen encoder has read of them."""
        cost, size, had, encoder = (
            self.prior(candidate),
            self.size(candidate),
            embedded or _NOTHING,
            encoder_of(candidate),
        )
        if probe or not candidate.variant.trains:
            return (cost.build_fixed, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        fresh = had.fresh(encoder, "train", rows)
        fitted = (_HEAD * rows + (1 - _HEAD) * fresh) * cost.build_per_1000 / 1000 * size
        judged = self._judged(candidate, had.fresh(encoder, "calibrate", self._calibrate(candidate)))
        return (cost.build_fixed, fitted, 0.0, judged, 0.0, 0.0, 0.0, 0.0)

    def export(self, candidate: Candidate, *, probe: bool) -> Parts:
        """Return the parts of an export."""
        judged = 0.0 if probe else self._judged(candidate, self._calibrate(candidate))
        return (0.0, 0.0, 0.0, judged, 0.0, _EXPORT * self.prior(candidate).build_fixed, 0.0, 0.0)

    def compress(self, candidate: Candidate, *, probe: bool) -> Parts:
        """Return the parts of a compression."""
        judged = 0.0 if probe else self._judged(candidate, self._calibrate(candidate))
        return (0.0, 0.0, 0.0, judged, 0.0, 0.0, _COMPRESS * self.prior(candidate).build_fixed, 0.0)

    def load(self, candidate: Candidate) -> Parts:
        """Return the parts of loading and warming up."""
        warm = min(2.0, _WARM_UP * self._request(candidate))
        return (0.0, 0.0, self.prior(candidate).predict_fixed, 0.0, warm, 0.0, 0.0, 0.0)

    def predict(
        self, candidate: Candidate, rows: float, split: str = "select", embedded: Embedded | None = None
    ) -> Parts:
        """Return the parts of predicting ``rows`` rows, less what a frozen encoder has read of the select rows."""
        fresh = rows
        if (
            embedded is not None
            and split == "select"
            and (candidate.compression, candidate.runtime) == ("none", _NATIVE)
        ):
            fresh = embedded.fresh(encoder_of(candidate), split, rows)
        return (0.0, 0.0, 0.0, self._judged(candidate, fresh), 0.0, 0.0, 0.0, _FIXED)

    def requests(self, candidate: Candidate, count: float) -> Parts:
        """Return the parts of so many single requests."""
        return (0.0, 0.0, 0.0, 0.0, count * self._request(candidate), 0.0, 0.0, 0.0)

    def time(self, candidate: Candidate, requests: float, number: int | None) -> Parts:
        """Return the parts of timing, in a probe (None) or a round of the final; round 0 also searches for the highest rate."""
        more = _OPEN_LOOP if number == 0 else 0
        fixed = _FIXED + (0.0 if number is None else _ROUND) + (_RATE if number == 0 else 0.0)
        return (0.0, 0.0, 0.0, 0.0, (requests + more) * self._request(candidate), 0.0, 0.0, fixed)

    def check(self, candidate: Candidate, checks: int = 1) -> Parts:
        """Return the parts of so many risk checks, average ones."""
        return (0.0, 0.0, 0.0, checks * self._judged(candidate, _CHECKED_ROWS), 0.0, 0.0, 0.0, checks * _CHECK)

    # ------------------------------------------------------------------------------------------------ trials and rows

    def of(self, trial: Trial, step: StepId, embedded: Embedded | None = None) -> Parts:
        """Return the parts of a trial's step, given what is embedded already."""
        requests = _PROBE_REQUESTS if trial.fidelity.probe else _ROUND_REQUESTS
        return self._parts(trial.candidate, step.kind, trial.fidelity, trial.round, requests, embedded)

    def of_row(self, candidate: Candidate, row: StepResult, embedded: Embedded | None = None) -> Parts:
        """Return the parts of a step that was done, given what was embedded then."""
        requests = max((found.n for found in row.measurements if found.name == "latency_p50"), default=0)
        return self._parts(candidate, row.kind, row.fidelity, row.round, requests, embedded)

    def note(self, candidate: Candidate, kind: str, fidelity: Fidelity, embedded: Embedded) -> None:
        """Take note of what a step leaves embedded."""
        encoder = encoder_of(candidate)
        if encoder is None or fidelity.probe:
            return
        if kind == "build":
            embedded.note(encoder, "train", fidelity.fraction * self.profile.split.train)
            embedded.note(encoder, "calibrate", self._calibrate(candidate))
        elif (
            kind == "predict"
            and fidelity.split == "select"
            and (candidate.compression, candidate.runtime) == ("none", _NATIVE)
        ):
            embedded.note(encoder, "select", fidelity.limit or self.profile.split.select)

    def _parts(
        self, candidate: Candidate, kind: str, fidelity: Fidelity, number: int | None, requests: int, embedded: Embedded | None
    ) -> Parts:  # fmt: skip
        if kind == "build":
            rows = fidelity.fraction * self.profile.split.train
            return self.build(candidate, rows, probe=fidelity.probe, embedded=embedded)
        if kind == "predict":
            rows = fidelity.limit or getattr(self.profile.split, fidelity.split)
            return self.predict(candidate, rows, fidelity.split, embedded)
        if kind == "time":
            return self.time(candidate, requests, number)
        if kind == "load":
            return self.load(candidate)
        if kind == "risk":
            return self.check(candidate)
        return (self.export if kind == "export" else self.compress)(candidate, probe=fidelity.probe)

    def _judged(self, candidate: Candidate, rows: float) -> float:
        return rows * self.prior(candidate).predict_per_1000 / 1000 * self.size(candidate)

    def _request(self, candidate: Candidate) -> float:
        return _REQUEST + self.prior(candidate).predict_per_1000 / 1000 * self.size(candidate)

    def _calibrate(self, candidate: Candidate) -> float:
        """Rows of the calibrate split that are judged after building, roughly as ``evaluation.steps.calibrate_rows`` has it."""
        per_row = max(self.prior(candidate).predict_per_1000 / 1000, 1e-9)
        return min(self.profile.split.calibrate, max(_CALIBRATE_ROWS, _CALIBRATE_SECONDS / per_row))


_NOTHING = Embedded()
