"""The decision in a dozen terminal lines, for a window of 80 columns in either language."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Final

from bakeoff.report import facts, numbers
from bakeoff.report.words import joined, same, text
from bakeoff.schema.base import Language, Words
from bakeoff.schema.decision import ConstraintVerdict, Decision

_SIGNS: Final = {"meets": "✓", "misses": "✗", "unproven": "?", "refused": "⊘", "not_required": "·"}
_COLOURS: Final = {"winner": "bold green", "no_clear_winner": "bold yellow", "infeasible": "bold red"}
_NEVER_FIRST: Final = frozenset("，。；：、！？）】》”’%,.;:!?)]}")
_NEVER_LAST: Final = frozenset("（【《“([{")
_GUTTER: Final = 2
_REASONS: Final = 2
_SCREEN: Final = 22
"""Lines of a small terminal, less two for the prompt."""


def terminal(decision: Decision, language: Language = "zh", *, markup: bool = False, width: int = 80) -> str:
    """Return the decision as plain lines of at most ``width`` columns, wide characters counted as two.

    Args:
        decision: what was decided.
        language: ``zh`` or ``en``.
        markup: add rich markup for colour (text from users is escaped); plain text otherwise.
        width: columns.

    """
    for reasons in range(_REASONS, -1, -1):  # a screen holds so many lines; why the others lost is in the report too
        lines = _lines(decision, language, reasons, width, markup=markup)
        if len(lines) <= _SCREEN:
            break
    return "\n".join(lines)


def _lines(decision: Decision, language: Language, reasons: int, width: int, *, markup: bool) -> list[str]:
    rows = [*_chosen(decision), *_measured(decision), *_doubts(decision), *_others(decision, reasons), *_race(decision)]
    heads = [head.said(language) for head, _ in rows]
    indent = max(columns(head) for head in heads) + _GUTTER
    outcome, headline = text(f"outcome.{decision.outcome}").said(language), clean(decision.headline.said(language))
    title = fold(headline if headline.startswith(outcome) else f"{outcome} · {headline}", width)
    lines = [*(_paint(line, _COLOURS[decision.outcome], markup=markup) for line in title)]
    for head, (_, body) in zip(heads, rows, strict=True):
        lines += _row(head, clean(body.said(language)), indent, width, markup=markup)
    return lines


def columns(line: str) -> int:
    """Return how many terminal columns ``line`` takes."""
    return sum(_wide(character) for character in line)


def clean(line: str) -> str:
    """Return text without control characters, escape sequences or direction overrides; they have no place in a terminal."""
    kept = (
        c
        for c in line.replace("\n", " ").replace("\t", " ")
        if unicodedata.category(c) not in {"Cc", "Cs", "Co"} and c not in _OVERRIDES
    )
    return "".join(kept)


_OVERRIDES: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


def fold(line: str, width: int) -> list[str]:
    """Break ``line`` into lines of at most ``width`` columns: at spaces, or anywhere between wide characters."""
    lines, now = [], ""
    for piece in _pieces(line):
        if columns(now + piece.rstrip()) <= width:
            now += piece
            continue
        if now.strip():
            lines.append(now.rstrip())
        now = piece.lstrip()
        while columns(now) > width:
            cut = next(i for i in range(len(now), 0, -1) if columns(now[:i]) <= width or i == 1)
            lines.append(now[:cut])
            now = now[cut:]
    return [*lines, now.rstrip()] if now.strip() or not lines else lines


def _pieces(line: str) -> list[str]:
    """Return the parts between which a line may break; closing punctuation stays with what it closes."""
    found: list[str] = []
    for character in line:
        if found and _glued(found[-1][-1], character):
            found[-1] += character
        else:
            found.append(character)
    return found


def _glued(before: str, after: str) -> bool:
    """Return whether no line may break between two characters."""
    if after == " " or after in _NEVER_FIRST or before in _NEVER_LAST:
        return True
    return _wide(before) == 1 and _wide(after) == 1 and before != " "


def _wide(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _row(head: str, body: str, indent: int, width: int, *, markup: bool) -> list[str]:
    folded = fold(body, max(width - indent, 10))
    start = _paint(head, "dim", markup=markup) + " " * (indent - columns(head))
    return [
        start + _escape(folded[0], markup=markup),
        *(" " * indent + _escape(line, markup=markup) for line in folded[1:]),
    ]


def _paint(line: str, style: str, *, markup: bool) -> str:
    return f"[{style}]{_escape(line, markup=True)}[/]" if markup else line


def _escape(line: str, *, markup: bool) -> str:
    if not markup:
        return line
    from rich.markup import escape

    return escape(line)


def _chosen(decision: Decision) -> list[tuple[Words, Words]]:
    found = facts.chosen(decision)
    if found is None:
        return []
    name = same(f"{{}}  {found.id}")
    said = Words(zh=name.zh.format(found.label.zh), en=name.en.format(found.label.en))
    rows = [(text("term.ship" if decision.recommended else "term.nearest"), said)]
    sure = []
    if decision.p_best is not None:
        sure.append(text("term.p_best", p=numbers.chance(decision.p_best)))
        if decision.p_good is not None:
            sure.append(text("term.p_good", p=numbers.chance(decision.p_good)))
    elif found.p_feasible is not None:
        sure.append(text("term.p_feasible", p=numbers.chance(found.p_feasible)))
    if decision.regret is not None:
        unit = decision.regret_unit
        sure.append(
            text("term.regret", amount=numbers.quantity(decision.regret, unit, "" if unit else decision.metric))
        )
    if decision.rows_to_separate:
        sure.append(text("term.rows", n=numbers.count(decision.rows_to_separate)))
    return [*rows, (text("term.sure"), joined(sure))] if sure else rows


def _measured(decision: Decision) -> list[tuple[Words, Words]]:
    rows = [
        (text("term.meets" if i == 0 else "term.blank"), _limit(found, decision))
        for i, found in enumerate(decision.constraints)
    ]
    if not rows and (score := facts.score(decision)):
        rows.append((facts.metric_name(score.name), facts.said(score)))
    if decision.outcome == "infeasible":
        rows += [(text("term.relax"), found.text) for found in decision.relaxations[:1]]
    if decision.cost:
        cost = decision.cost
        total = text(
            "term.cost_line", months=f"{cost.horizon_months:g}", total=numbers.quantity(cost.total, cost.currency),
            range=numbers.interval(cost.low, cost.high, cost.total, cost.currency),
        )  # fmt: skip
        parts = (
            [total] if cost.net is None else [total, text("term.net", amount=numbers.quantity(cost.net, cost.currency))]
        )
        rows.append((text("term.cost"), joined(parts)))
    return rows


def _limit(found: ConstraintVerdict, decision: Decision) -> Words:
    if found.unit == facts.RULE:
        return Words(zh=f"{_SIGNS[found.verdict]} {found.label.zh}", en=f"{_SIGNS[found.verdict]} {found.label.en}")
    shown = facts.metric(facts.metric_of(found, decision.metric), found.metric, decision.confidence)
    number, limit, sign = facts.said(shown), facts.limit_text(found, decision.metric), _SIGNS[found.verdict]
    name = facts.metric_name(shown.name)
    return Words(zh=f"{sign} {name.zh} {limit}：{number.zh}", en=f"{sign} {name.en} {limit}: {number.en}")


def _doubts(decision: Decision) -> list[tuple[Words, Words]]:
    rows = []
    worst = facts.open_risks(decision)[:2]
    if decision.risks:
        said = [
            Words(
                zh=f"{one.title.zh}（{text(f'level.{one.level}').zh}）",
                en=f"{one.title.en} ({text(f'level.{one.level}').en})",
            )
            for one in worst
        ]
        rows.append((text("term.risks"), joined(said) if said else text("term.no_risks")))
    near = facts.nearest_flip(decision)
    if near:
        rows.append(
            (text("term.flip"), joined([_clause(near.text), text("term.away", factor=numbers.times(near.factor))]))
        )
    elif decision.outcome != "infeasible":
        rows.append((text("term.flip"), text("term.no_flip")))
    return rows


def _others(decision: Decision, reasons: int) -> list[tuple[Words, Words]]:
    """Say why the others lost: the runner-up in full, the next few in one clause, the rest counted by fate."""
    first, second = facts.chosen(decision), facts.find(decision, decision.runner_up)
    rows: list[tuple[Words, Words]] = []
    told = {found.id for found in (first, second) if found}
    if second and first and second.id != first.id:
        rows.append((text("term.second"), _why(second.label, second.reason)))
    rest = [found for found in facts.ranked(decision) if found.id not in told]
    said = [_why(found.label, found.reason) for found in rest[:reasons]]
    left = Counter(found.status for found in rest[reasons:])
    if left:
        fates = [
            Words(zh=f"{text(f'status.{s}').zh} {left[s]}", en=f"{left[s]} {text(f'status.{s}').en.lower()}")
            for s in facts.STATUSES
            if left[s]
        ]
        said.append(text("term.more", fates=joined(fates, "、", ", ")))
    rows += [(text("term.others" if i == 0 else "term.blank"), words) for i, words in enumerate(said)]
    return rows


def _race(decision: Decision) -> list[tuple[Words, Words]]:
    """Say in one line how many fell on the way, and what was spent of evaluating everything."""
    run = decision.run
    arms = {one.arm for one in run.race} | {one.arm for one in run.exits}
    if not arms:
        return []
    out = {one.arm for one in run.exits if one.ends}
    said = [text("term.race_line", arms=str(len(arms)), out=str(len(out)))]
    if run.exhaustive_seconds:
        share = numbers.quantity(run.cpu_seconds / run.exhaustive_seconds, "share")
        said.append(text("term.race_share", share=share))
    return [(text("term.race"), joined(said))]


def _clause(said: Words) -> Words:
    return Words(zh=said.zh.rstrip("。."), en=said.en.rstrip("."))


def _why(label: Words, reason: Words) -> Words:
    return Words(zh=f"{label.zh}：{reason.zh}", en=f"{label.en}: {reason.en}")
