"""From evidence to a decision: a pure, deterministic function."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bakeoff.decision.choose import Choice, choose
from bakeoff.decision.constraints import floor_open, nearest_miss, relaxations, verdicts
from bakeoff.decision.curves import learning_curves
from bakeoff.decision.figures import figures, pareto
from bakeoff.decision.flips import flips
from bakeoff.decision.labels import labels_value
from bakeoff.decision.probed import probe_errors
from bakeoff.decision.race import race
from bakeoff.decision.reasons import Reasons
from bakeoff.decision.separate import corrected_score, rows_to_separate
from bakeoff.decision.smaa import acceptability
from bakeoff.decision.summary import headline, summary
from bakeoff.decision.view import View, risk_findings, views
from bakeoff.decision.whatif import overridden
from bakeoff.decision.world import Known, World, build, judging_of, learn
from bakeoff.economics import PriceBook, estimate, load_book
from bakeoff.schema.base import Words, content_key
from bakeoff.schema.decision import (
    CandidateVerdict,
    Decision,
    DecisionProvenance,
    LearningCurve,
    Metric,
    Recommended,
    RunSummary,
)
from bakeoff.schema.economics import CostEstimate
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.spec import Spec
from bakeoff.store.evidence import StudyEvidence
from bakeoff.tasks.scoring import mistakes


def decide(
    evidence: StudyEvidence,
    spec: Spec | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    book: PriceBook | None = None,
) -> Decision:
    """Return the decision that follows from the evidence.

    Args:
        evidence: everything known in the study.
        spec: another specification to decide under (what-if); default: the study's own.
        overrides: changes of the specification by dotted path, for example ``{"requirements.latency.p95": "80ms"}``.
        book: price book; default: ours, overlaid by ``costs.price_book`` (relative to the working directory).

    Returns:
        The same decision for the same evidence and premises, whatever the order of candidates, rows or ledger entries.

    Raises:
        SpecError: an override does not fit the specification, or prices name labels the data does not have.

    """
    asked = overridden(spec or evidence.spec, overrides or {})
    prices = _local(book or load_book(asked.costs.price_book), evidence)
    seen = views(evidence)
    judging = judging_of(asked, evidence.profile)
    curves, fits = learning_curves(seen, judging, evidence.profile, asked.seed, asked.decision.confidence)
    known = learn(seen, asked, evidence.profile, prices, evidence.spec)
    world = build(seen, known, asked, fits)
    choice = choose(world, world.today)
    return _Writer(evidence, asked, seen, known, world, choice, curves, dict(overrides or {})).decision()


def _local(book: PriceBook, evidence: StudyEvidence) -> PriceBook:
    """Return the book whose 'local' machine is the one that measured."""
    if not evidence.environments:
        return book
    used = sorted(row.result.environment for row in evidence.results if row.result.kind == "time")
    name = next((key for key in used if key in evidence.environments), min(evidence.environments))
    return book.with_local(evidence.environments[name].cores, float(evidence.environments[name].memory))


class _Writer:
    """Writes the decision record from a choice."""

    def __init__(
        self,
        evidence: StudyEvidence,
        spec: Spec,
        seen: list[View],
        known: Known,
        world: World,
        choice: Choice,
        curves: tuple[LearningCurve, ...],
        overrides: dict[str, Any],
    ) -> None:
        self.evidence, self.spec, self.seen, self.known = evidence, spec, seen, known
        self.world, self.choice, self.curves, self.overrides = world, choice, curves, overrides
        self.shown = {view.id: figures(view, known, world.today) for view in seen}
        self.costs = {view.id: self._cost(view) for view in seen if view.rounds or view.id in known.quality}
        self.place = {view.id: index for index, view in enumerate(world.views)}

    def decision(self) -> Decision:
        world, choice, spec, known = self.world, self.choice, self.spec, self.known
        nearest = nearest_miss(world, world.today) if choice.recommended is None else None
        subject = choice.recommended if choice.recommended is not None else nearest
        view = None if subject is None else world.views[subject]
        limits = () if view is None else verdicts(view, known, world.today, self.shown[view.id], spec)
        cost = None if view is None else self.costs.get(view.id)
        found = flips(world, known, spec, choice.recommended)
        relaxed = relaxations(world, world.today, nearest)
        score = corrected_score(world, known, choice, spec.decision.confidence)
        rows = (
            rows_to_separate(world, known, choice, spec.decision.confidence)
            if choice.outcome == "no_clear_winner"
            else None
        )
        front = self._front()
        chosen = None if choice.recommended is None else world.views[choice.recommended].candidate
        return Decision(
            study=self.evidence.spec.name, task=spec.task, outcome=choice.outcome,
            recommended=None if chosen is None else Recommended(id=chosen.id, label=chosen.label),
            p_best=None if choice.recommended is None else float(choice.p_best[choice.recommended]),
            p_good=None if choice.recommended is None else float(choice.p_good[choice.recommended]),
            headline=headline(world, choice, cost, limits, nearest),
            summary=summary(world, choice, spec, score, limits, found, relaxed, rows),
            confidence=spec.decision.confidence, metric=known.judging.metric, score=score,
            regret=None if choice.recommended is None else float(choice.regret[choice.recommended]),
            regret_unit=spec.value.currency if world.today.priced else known.judging.metric,
            runner_up=None if choice.runner_up is None else world.views[choice.runner_up].id,
            candidates=self._candidates(front), unavailable=self.evidence.unavailable, constraints=limits, relaxations=relaxed,
            cost=cost, risks=risk_findings(self.evidence, None if view is None else view.id), flips=found, pareto=front,
            curves=self.curves, labels_value=self._labels(),
            acceptability=acceptability(world, choice, spec), rows_to_separate=rows, profile=self.evidence.profile, run=self._run(),
            provenance=self._provenance(),
        )  # fmt: skip

    def _labels(self) -> Measurement | None:
        chosen = self.choice.recommended
        curve = None if chosen is None else self.world.curves[chosen]
        return labels_value(self.world, self.spec, curve, self.spec.decision.confidence)

    def _cost(self, view: View) -> CostEstimate:
        seen, confusion, prices = view.judged, None, None
        if seen is not None and seen.n:
            confusion = mistakes(seen.actual, seen.predicted, len(self.evidence.profile.classes))
            prices = {pair: float(self.spec.value.errors[key]) for key, pair in self.known.mistakes}
        return estimate(self.spec, self.known.usages[view.id], self.known.book, confusion, prices)

    def _front(self) -> tuple[str, ...]:
        """The Pareto front of the candidates that took part in the comparison, of all judged ones when nothing is feasible."""
        pool = [self.world.views[int(index)].id for index in self.choice.pool] or [view.id for view in self.world.views]
        return pareto({name: self.shown[name] for name in pool}, self.costs, self.known.judging.metric)

    def _candidates(self, front: tuple[str, ...]) -> tuple[CandidateVerdict, ...]:
        reasons = Reasons(self.world, self.known, self.choice, self.spec, self.shown)
        found = [self._verdict(view, reasons, front) for view in self.seen]
        rank = {
            "winner": 0,
            "within_indifference": 1,
            "dominated": 2,
            "infeasible": 3,
            "eliminated": 4,
            "not_reached": 5,
            "failed": 6,
        }
        best = None if self.choice.recommended is None else self.world.views[self.choice.recommended].id

        def order(item: CandidateVerdict) -> tuple[bool, int, float, str]:
            quality: Metric | None = item.metrics.get(self.known.judging.metric)
            value = quality.value if quality is not None and quality.value is not None else -1.0
            return item.id != best, rank[item.status], -value, item.id

        missing = [
            CandidateVerdict(
                id=item.id, label=item.label, family=item.id.split(".", 1)[0], status="unavailable",
                reason=_unavailable(item.reason), missing=item.command,
            )
            for item in sorted(self.evidence.unavailable, key=lambda item: item.id)
        ]  # fmt: skip
        return (*sorted(found, key=order), *missing)

    def _verdict(self, view: View, reasons: Reasons, front: tuple[str, ...]) -> CandidateVerdict:
        status, reason = reasons.of(view)
        index = self.place.get(view.id)
        compared = index is not None and index in self.choice.pool
        unsettled = status != "infeasible" and floor_open(view, self.known, self.world.today)
        return CandidateVerdict(
            id=view.id, label=view.candidate.label, family=view.candidate.family, status=status, reason=reason,
            fraction=None if view.judged is None else view.judged.fidelity.fraction, stage=view.stage,
            p_best=float(self.choice.p_best[index]) if compared and index is not None else _eliminated_p(view),
            p_good=float(self.choice.p_good[index]) if compared and index is not None else None,
            p_feasible=None if index is None or unsettled else float(self.choice.p_feasible[index]),
            regret=float(self.choice.regret[index]) if compared and index is not None else None,
            metrics=self.shown[view.id], cost=self.costs.get(view.id), pareto=view.id in front,
            simplicity=view.candidate.variant.simplicity,
        )  # fmt: skip

    def _run(self) -> RunSummary:
        results = [row.result for row in self.evidence.results]
        trials = {
            (found.candidate, found.purpose, found.fidelity.model_dump_json(), found.round)
            for found in results if found.kind in {"predict", "time"}
        }  # fmt: skip
        confirmed = {
            r.candidate for r in results if r.kind == "predict" and r.fidelity.split == "confirm" and r.status == "ok"
        }
        zh, en = self.evidence.stop_rule
        looks, exits = race(self.evidence, self.known.judging, self.spec.decision.confidence)
        return RunSummary(
            trials=len(trials), steps=len(results), steps_failed=sum(found.status == "failed" for found in results),
            wall_seconds=sum(found.wall_seconds for found in results), cpu_seconds=sum(found.cpu_seconds for found in results),
            looks_at_confirm=len(confirmed), candidates_considered=len(self.evidence.candidates), stop_rule=Words(zh=zh, en=en),
            harness_seconds=_harness(self.seen), probe_error=probe_errors(self.evidence), race=looks, exits=exits,
        )  # fmt: skip

    def _provenance(self) -> DecisionProvenance:
        environments = self.evidence.environments
        return DecisionProvenance(
            bakeoff=_version(), spec_key=content_key(self.spec), data=self.evidence.profile.data,
            file_sha256=self.evidence.profile.file_sha256, ledger_rows=len(self.evidence.results), seed=self.spec.seed,
            draws=self.spec.decision.draws, overrides=self.overrides,
            environments=tuple(environments[key] for key in sorted(environments)),
        )  # fmt: skip


def _eliminated_p(view: View) -> float | None:
    return None if view.elimination is None else view.elimination.p_best


def _unavailable(reason: Words) -> Words:
    zh, en = reason.zh.rstrip("。"), reason.en.rstrip(".")
    return Words(zh=f"无法参加：{zh}。", en=f"Unavailable: {en}.")


def _harness(seen: list[View]) -> float | None:
    for view in seen:
        found = view.measurements.get("harness_seconds")
        if found is not None:
            return found.value
    return None


def _version() -> str:
    try:
        return version("bakeoff")
    except PackageNotFoundError:
        return "0+unknown"
