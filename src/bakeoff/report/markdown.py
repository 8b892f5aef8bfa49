"""The decision as a record in the shape of MADR (Markdown Any Decision Records), in one language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bakeoff.report import facts, numbers, words
from bakeoff.report.charts import race
from bakeoff.report.foreseen import foreseen
from bakeoff.report.html_parts import flip_numbers
from bakeoff.report.weights import weights
from bakeoff.schema.base import Language, Words
from bakeoff.schema.decision import CandidateVerdict, Decision

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def record(decision: Decision, language: Language) -> str:
    """Return the whole record."""
    return _Record(decision, language).text()


def plain(text: str) -> str:
    """Return text that Markdown leaves alone, on one line."""
    return _SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text)).strip()


def code(text: str) -> str:
    """Return text as inline code, whatever it contains; safe inside a table too."""
    flat = re.sub(r"\s+", " ", text).strip().replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", flat)), default=0) + 1)
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


class _Record:
    """Writes one record; every text of a user passes through ``plain``."""

    def __init__(self, decision: Decision, language: Language) -> None:
        self.decision, self.language = decision, language

    def text(self) -> str:
        parts = [
            self._head(), self._context(), self._drivers(), self._options(), self._outcome(), self._consequences(),
            self._confirmation(), self._revisit(), self._more(),
        ]  # fmt: skip
        return "\n\n".join(part for part in parts if part) + "\n"

    def _t(self, key: str, **given: str | Words) -> str:
        return words.text(key, **given).said(self.language)

    def _w(self, said: Words) -> str:
        return plain(said.said(self.language))

    def _number(self, shown: facts.Shown) -> str:
        return self._w(facts.said(shown))

    def _table(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
        lines = [heads, ["---"] * len(heads), *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def _head(self) -> str:
        found = self.decision
        status = self._t(
            "md.status_line", outcome=words.text(f"outcome.{found.outcome}"), study=plain(found.study), task=found.task
        )
        lines = [f"# {self._w(found.headline)}", f"**{self._t('md.status')}**: {status}", self._w(found.summary)]
        changed = found.provenance.overrides
        if changed:
            lines.append(
                f"> {self._t('page.whatif')} " + ", ".join(code(f"{key}={value}") for key, value in changed.items())
            )
        return "\n\n".join(lines)

    def _context(self) -> str:
        found = self.decision.profile
        line = self._t(
            "md.context_line", task=self.decision.task, read=numbers.count(found.rows_read), used=numbers.count(found.rows_used),
            classes=numbers.count(len(found.classes)), metric=facts.metric_name(self.decision.metric),
        )  # fmt: skip
        advice = [f"- {self._w(one.message)} {self._w(one.action)}" for one in found.advice]
        return "\n\n".join([f"## {self._t('md.context')}", line, *(["\n".join(advice)] if advice else [])])

    def _drivers(self) -> str:
        limits = [
            (self._w(one.label), facts.limit_text(one, self.decision.metric)) for one in self.decision.constraints
        ]
        lines = [f"- {label}: {limit}" if limit else f"- {label}" for label, limit in limits]
        return f"## {self._t('md.drivers')}\n\n" + ("\n".join(lines) or self._t("constraints.none"))

    def _options(self) -> str:
        quality = self.decision.metric
        heads = ["#", *(self._t(key) for key in ("candidates.stack", "md.status_column"))]
        heads += [plain(facts.metric_name(name).said(self.language)) for name in (quality, "latency_p95")]
        heads += [self._t("metric.cost"), self._t("metric.p_best"), self._t("md.reason")]
        rows = [self._option(rank, one) for rank, one in enumerate(facts.contenders(self.decision), 1)]
        return "\n\n".join([f"## {self._t('md.options')}", self._table(heads, rows), *self._race()])

    def _race(self) -> list[str]:
        """Return who was dropped on the way, when and why; nothing when no record of the race was kept."""
        found, run = race.race(self.decision), self.decision.run
        if found is None:
            return []
        counted = self._t("race.counted", **race.counts(found)) + f" {self._t('run.stop')} {self._w(run.stop_rule)}"
        spent = race.spent(run)
        lines = [f"### {self._t('race.dropped')}", f"{counted}\n{spent.said(self.language)}" if spent else counted]
        heads = [self._t(key) for key in ("md.when", "candidates.stack", "race.share", "md.status_column", "md.reason")]
        rows = [
            [
                numbers.quantity(one.at, "s") if one.at is not None else "–",
                self._w(one.label) + ("" if one.ends else " " + " ".join(code(name) for name in one.candidates)),
                race.share(one.fraction) if one.fraction is not None else "–", self._t(f"status.{race.status(one)}"), self._w(one.reason),
            ]
            for one in found.exits
        ]  # fmt: skip
        return [*lines, self._table(heads, rows) if rows else self._t("race.nobody")]

    def _option(self, rank: int, one: CandidateVerdict) -> list[str]:
        cells = [str(rank), f"{self._w(one.label)} {code(one.id)}", self._t(f"status.{one.status}")]
        for name in (self.decision.metric, "latency_p95"):
            metric = one.metrics.get(name)
            cells.append(self._verdict(facts.metric(name, metric, self.decision.confidence)) if metric else "–")
        cells.append(numbers.quantity(one.cost.total, one.cost.currency) if one.cost else "–")
        cells += [numbers.chance(one.p_best) if one.p_best is not None else "–", self._w(one.reason)]
        return cells

    def _verdict(self, shown: facts.Shown) -> str:
        number = self._number(shown)
        return (
            number
            if shown.verdict in {"not_required", "refused"}
            else f"{self._t(f'verdict.{shown.verdict}')} {number}"
        )

    def _outcome(self) -> str:
        found, first = self.decision, facts.chosen(self.decision)
        lines = [f"## {self._t('md.outcome')}"]
        if first:
            key = "md.chosen" if found.recommended else "md.not_chosen"
            lines += [self._t(key, label=self._w(first.label), id=first.id), self._w(first.reason)]
        else:
            lines.append(self._t("md.nobody"))
        sure = []
        if found.p_best is not None:
            sure.append(f"- {self._t('term.p_best', p=numbers.chance(found.p_best))}")
        if found.p_good is not None:
            sure.append(f"- {self._t('term.p_good', p=numbers.chance(found.p_good))}")
        if found.regret is not None:
            amount = numbers.quantity(found.regret, found.regret_unit, "" if found.regret_unit else found.metric)
            sure.append(f"- {self._t('term.regret', amount=amount)}")
        if found.rows_to_separate:
            sure.append(f"- {self._t('term.rows', n=numbers.count(found.rows_to_separate))}")
        score = facts.score(found)
        if score:
            sure.append(f"- {self._w(facts.metric_name(score.name))}: {self._number(score)}")
        sure += [f"- {self._w(one.text)}" for one in found.relaxations]
        return "\n\n".join([*lines, "\n".join(sure)])

    def _consequences(self) -> str:
        lines = [
            f"## {self._t('md.consequences')}",
            f"### {self._t('md.costs')}",
            self._costs(),
            f"### {self._t('md.risks')}",
        ]
        findings = facts.risks(self.decision)
        rows = [
            [
                self._w(one.title), self._t(f"finding.{one.status}"), self._t(f"level.{one.level}"),
                f"{one.likelihood * 100:.0f} % × {one.impact}/5", self._w(one.observed), self._w(one.mitigation), self._w(one.residual),
                plain(", ".join(one.standards)) or "–",
            ]
            for one in findings
        ]  # fmt: skip
        heads = [
            "md.check",
            "table.verdict",
            "md.level",
            "md.likelihood",
            "md.observed",
            "risks.mitigation",
            "risks.residual",
            "md.standards",
        ]
        lines.append(self._table([self._t(key) for key in heads], rows) if rows else self._t("risks.none"))
        return "\n\n".join(lines)

    def _costs(self) -> str:
        cost = self.decision.cost
        if not cost:
            return self._t("cost.none")
        unit = cost.currency
        rows = [
            [
                self._w(line.label), numbers.quantity(line.value, unit), numbers.interval(line.low, line.high, line.value, unit),
                self._t(f"provenance.{line.provenance}"), self._w(line.basis),
            ]
            for line in cost.lines
        ]  # fmt: skip
        total = self._t("cost.horizon", months=f"{cost.horizon_months:g}", date=cost.book_date)
        whole, span = numbers.quantity(cost.total, unit), numbers.interval(cost.low, cost.high, cost.total, unit)
        rows.append([f"**{self._t('cost.total')}**", f"**{whole}**", span, "", total])
        heads = ("cost.line", "cost.amount", "cost.range", "table.source", "cost.basis")
        return self._table([self._t(key) for key in heads], rows)

    def _confirmation(self) -> str:
        found = self.decision
        rows = []
        for one in found.constraints:
            judged = [self._w(one.label), self._t(f"verdict.{one.verdict}")]
            if one.unit == facts.RULE:
                rows.append([*judged, "–", "–", "–", "–"])
                continue
            shown = facts.metric(facts.metric_of(one, found.metric), one.metric, found.confidence)
            sure = numbers.chance(one.p_meets) if one.p_meets is not None else "–"
            limit, spare = facts.limit_text(one, found.metric), self._w(facts.margin(one))
            rows.append([*judged, self._number(shown), limit, spare, sure])
        line = self._t("md.confirmation_line", looks=numbers.count(found.run.looks_at_confirm))
        heads = ["constraints.nav", "table.verdict", "table.value", "md.limit", "md.margin", "md.p_meets"]
        table = [self._table([self._t(key) for key in heads], rows)] if rows else []
        return "\n\n".join([f"## {self._t('md.confirmation')}", line, *table])

    def _revisit(self) -> str:
        rows = []
        for one in facts.flips(self.decision):
            today, at = flip_numbers(one, self.decision)
            mark = "" if one.provenance == "measured" else f" ({self._t(f'provenance.{one.provenance}')})"
            rows.append([self._w(one.label), today, at + mark, numbers.times(one.factor), self._w(one.to_label)])
        heads = [self._t(key) for key in ("md.premise", "md.today", "md.flips_at", "md.factor", "md.to")]
        table = self._table(heads, rows) if rows else self._t("flips.none")
        return "\n\n".join([f"## {self._t('md.revisit')}", table, *self._weights(), *self._labels()])

    def _weights(self) -> list[str]:
        lines = weights(self.decision)
        if not lines:
            return []
        heads = [self._t(key) for key in ("candidates.stack", "weights.first", "weights.second", "weights.valued")]
        rows = [[self._w(one.label), one.first, one.second, self._w(one.valued)] for one in lines]
        return [f"### {self._t('weights.title')}", self._t("weights.lead"), self._table(heads, rows)]

    def _labels(self) -> list[str]:
        found = self.decision.labels_value
        return [self._t("curves.worth", amount=facts.said(facts.measurement(found)))] if found else []

    def _more(self) -> str:
        found = self.decision
        run, from_ = found.run, found.provenance
        lines = [f"## {self._t('md.more')}"]
        missing = [
            f"- {self._w(one.label)}: {self._w(one.reason)}" + (f" {code(one.command)}" if one.command else "")
            for one in found.unavailable
        ]
        if missing:
            lines += [f"### {self._t('unavailable.title')}", "\n".join(missing)]
        counted = {"trials": run.trials, "steps": run.steps, "failed": run.steps_failed, "looks": run.looks_at_confirm}
        measured = [f"{self._t(f'run.{key}')} {numbers.count(number)}" for key, number in counted.items()]
        keys = {"spec": from_.spec_key, "data": from_.data, "file": from_.file_sha256}
        drawn = {"ledger": from_.ledger_rows, "seed": from_.seed, "draws": from_.draws}
        sources = [
            f"- {self._t('run.stop')} {self._w(run.stop_rule)}",
            "- " + " · ".join([*measured, f"{self._t('run.wall')} {numbers.quantity(run.wall_seconds, 's')}"]),
            *(f"- {self._w(line)}" for line in foreseen(run)),
            *(f"- {self._t(f'provenance.{key}')} {code(found)}" for key, found in keys.items()),
            "- "
            + " · ".join(f"{self._t(f'provenance.{key}')} {numbers.count(number)}" for key, number in drawn.items()),
        ]
        for one in from_.environments:
            cores = self._t("provenance.cores", n=str(one.cores), threads=str(one.threads))
            sources.append(f"- {plain(one.cpu)} · {cores} · Python {plain(one.python)} · Bakeoff {from_.bakeoff}")
        return "\n\n".join([*lines, f"### {self._t('provenance.title')}", "\n".join(sources)])
