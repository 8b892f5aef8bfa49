"""The decision document, record by record."""

from __future__ import annotations

from docs._reference.fields import reachable, record_table
from docs._reference.text import Tongue, first_line, page

from bakeoff.schema.decision import Decision


def decision_page(tongue: Tongue) -> str:
    """Return the page of the decision document."""
    tongue.here = {model.__name__ for model in reachable(Decision)}
    blocks = [
        f"## {model.__name__}\n\n{tongue.code(first_line(model))}\n\n{record_table(model, tongue)}"
        for model in reachable(Decision)
    ]
    return page(
        tongue,
        tongue.say("The decision document", "决策文档"),
        tongue.say(
            "What `bakeoff run --json` and `bakeoff decide --json` print, and what `decision.json` in a study holds. "
            "Its JSON Schema is `bakeoff/schema/json/decision.schema.json` inside the package. "
            "Amounts are in the specification's currency, times in seconds, sizes in bytes, shares between 0 and 1.",
            "`bakeoff run --json` 与 `bakeoff decide --json` 的输出，也就是研究目录里 `decision.json` 的内容。"
            "JSON Schema 在包内的 `bakeoff/schema/json/decision.schema.json`。"
            "金额用规格书里的币种，时间以秒计，大小以字节计，比例在 0 与 1 之间。",
        ),
        *blocks,
    )
