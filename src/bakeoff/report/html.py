"""The page: one self-contained file with both languages, the same numbers, and no way to reach the network."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from bakeoff.report import facts, foreseen, numbers, words
from bakeoff.report.charts import bars, curves, pareto, race
from bakeoff.report.charts.svg import both
from bakeoff.report.html_parts import cost_view, data_view, flip_view, rows_view
from bakeoff.report.weights import weights
from bakeoff.schema.base import Language, Words
from bakeoff.schema.decision import Decision

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE: Final = Path(__file__).parent


def page(decision: Decision, language: Language) -> str:
    """Return the whole page as one string; ``language`` is shown first, the other one is inside."""
    template = environment().get_template("page.html.j2")
    return template.render(**_context(decision, language))


@cache
def environment() -> Environment:
    """Return the template environment: everything is escaped, and a name that does not exist is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        t=_said, w=both, two=_two, say=facts.said, caveat=facts.caveat, metric_name=facts.metric_name, measurement=facts.measurement,
        margin=facts.margin, limit_text=facts.limit_text, quantity=numbers.quantity, chance=numbers.chance, count=numbers.count,
        times=numbers.times, exact=numbers.exact, span=numbers.interval, gauge=bars.constraint, personal=facts.personal,
        reading=race.reading, share=race.share, counts=race.counts, spent=race.spent, fate_of=race.status,
        foreseen=foreseen.foreseen, stage=facts.stage,
    )  # fmt: skip
    return made


def _context(decision: Decision, language: Language) -> dict[str, Any]:
    style, script = _static("report.css"), _static("report.js")
    floor = facts.limit_of(decision, decision.metric)
    name = decision.recommended.id if decision.recommended else None
    return {
        "decision": decision, "language": language, "style": Markup(style), "script": Markup(script),  # noqa: S704 - our own files
        "here": lambda key: words.text(key).said(language), "policy": _policy(style, script),
        "chosen": facts.chosen(decision), "score": facts.score(decision),
        "open_risks": facts.open_risks(decision), "risks": facts.risks(decision),
        "rows": rows_view(decision), "plot": pareto.plot(decision), "cost": cost_view(decision), "flips": flip_view(decision),
        "curves": curves.curves(decision.curves, decision.metric, name, floor.limit if floor else None), "data": data_view(decision),
        "race": race.race(decision), "floor": floor, "weights": weights(decision),
        "runner_up": facts.find(decision, decision.runner_up), "label_of": lambda key: facts.label(decision, key),
    }  # fmt: skip


def _static(name: str) -> str:
    return (_HERE / "static" / name).read_text(encoding="utf-8").strip()


def _policy(style: str, script: str) -> str:
    """Return a content policy under which only our own style and script run and nothing is fetched."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return f"default-src 'none'; script-src 'sha256-{digest(script)}'; style-src 'sha256-{digest(style)}'; base-uri 'none'; form-action 'none'"


def _said(key: str, **given: str | Words | Markup) -> Markup:
    """Return one of our sentences in both languages; facts from outside are escaped."""
    return both(words.text(key, **given))


def _two(said: Words | str, attribute: str = "") -> Markup:
    """Return attributes that let the script put the right language where only plain text can stand."""
    found = words.text(said) if isinstance(said, str) else said
    prefix = f"{attribute}-" if attribute else ""
    return Markup('data-{0}zh="{1}" data-{0}en="{2}"').format(prefix, _flat(found.zh), _flat(found.en))


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
