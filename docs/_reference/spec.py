"""The specification, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_type_hints

from docs._reference.fields import bounds, default_words, models_in, options, type_words, unit_of
from docs._reference.text import Tongue, first_line, page, table, tick
from pydantic import BaseModel

from bakeoff.schema.spec import Criterion, Endpoint, Spec

_INNER: dict[str, type[BaseModel]] = {"candidates": Endpoint, "decision": Criterion}
"""Records that stand in a list or mapping of a section: each has a table of its own below it."""


@dataclass(frozen=True)
class Leaf:
    """A field that holds a value: its dotted path, the record it stands in, its name there, and what its section says."""

    path: str
    owner: type[BaseModel]
    name: str
    note: str = ""


def leaves(model: type[BaseModel] = Spec, path: str = "", note: str = "") -> Iterator[Leaf]:
    """Yield every field that holds a value."""
    hints = get_type_hints(model, include_extras=True)
    for name, info in model.model_fields.items():
        inner = section(hints[name])
        if inner is not None:
            yield from leaves(inner, f"{path}{name}.", (info.description or "") if len(inner.model_fields) == 1 else "")
        else:
            yield Leaf(f"{path}{name}", model, name, note)


def section(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - a type is any object
    """Return the record a field is, None when it holds a value or a list."""
    for option in options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def spec_page(tongue: Tongue) -> str:
    """Return the page of the specification."""
    parts: dict[str, list[Leaf]] = {}
    for leaf in leaves():
        parts.setdefault(leaf.path.split(".", 1)[0] if "." in leaf.path else "", []).append(leaf)
    blocks = [_section(tongue, top, rows) for top, rows in parts.items()]
    return page(
        tongue,
        tongue.say("The specification", "需求规格书"),
        tongue.say(
            "One YAML file. Unknown keys and contradictions are refused, all of them listed at once with line, reason and fix. "
            "Any field can be changed for one command with `--set`, by the dotted path in the first column. "
            "The JSON Schema, for editors that complete YAML, is `bakeoff/schema/json/spec.schema.json` inside the package.",
            "一个 YAML 文件。未知的键和互相矛盾的要求会被拒绝，并一次列出全部问题（行号、原因、改法）。"
            "任何字段都可以用 `--set` 临时改变，写第一列里的点分路径。"
            "供编辑器补全用的 JSON Schema 在包内的 `bakeoff/schema/json/spec.schema.json`。",
        ),
        tongue.say(
            "Four lines are enough:\n\n```yaml\nname: reviews\ntask: text-classification\n"
            "data: {file: reviews.csv, input: text, target: label}\nrequirements: {quality: {metric: macro_f1, floor: 0.8}}\n```",
            "四行就能运行：\n\n```yaml\nname: reviews\ntask: text-classification\n"
            "data: {file: reviews.csv, input: text, target: label}\nrequirements: {quality: {metric: macro_f1, floor: 0.8}}\n```",
        ),
        _units(tongue),
        *blocks,
    )


def _units(tongue: Tongue) -> str:
    rows = [
        ("`50ms` `20min` `2h` `12mo` `1yr`", tongue.say("a duration; a bare number is seconds", "时长；不写单位即秒")),
        ("`300MB` `1GiB`", tongue.say("a size; a bare number is bytes", "大小；不写单位即字节")),
        ("`40/s` `200k/day` `20万/day`", tongue.say("a rate; a bare number is per second", "速率；不写单位即每秒")),
        ("`0.5` `0.5 CNY` `3k`", tongue.say("an amount in `value.currency`", "金额，币种见 `value.currency`")),
        (
            "`300/h` `60k/mo`",
            tongue.say("money over time; a bare number is per hour", "单位时间的金额；不写单位即每小时"),
        ),
        ("`2%` `0.02`", tongue.say("a share", "比例")),
        ("`20%/yr`", tongue.say("growth a year", "年增长")),
    ]
    head = [tongue.say("written", "写法"), tongue.say("meaning", "含义")]
    return f"## {tongue.say('Units', '单位')}\n\n{table(head, rows)}"


def _section(tongue: Tongue, top: str, rows: list[Leaf]) -> str:
    if not top:
        title, words = tongue.say("Top level", "顶层"), ""
    else:
        model = section(get_type_hints(Spec, include_extras=True)[top])
        assert model is not None  # noqa: S101 - sections come from records
        title, words = top, tongue.code(first_line(model))
    head = [
        tongue.say("field", "字段"), tongue.say("type and unit", "类型与单位"), tongue.say("default", "默认值"), tongue.say("meaning", "含义"),
    ]  # fmt: skip
    body = table(head, [_row(tongue, leaf) for leaf in rows])
    extra = _inner(tongue, _INNER[top]) if top in _INNER else ""
    return "\n\n".join(part for part in (f"## {title}", words, body, extra) if part)


def _row(tongue: Tongue, leaf: Leaf) -> list[str]:
    owner, name = leaf.owner, leaf.name
    annotation = get_type_hints(owner, include_extras=True)[name]
    info = owner.model_fields[name]
    meaning = tongue.field(f"{owner.__name__}.{name}", info.description)
    if leaf.note:
        meaning = tongue.code(leaf.note) + tongue.say(" ", "") + meaning
    kind = type_words(annotation, tongue)
    if any(inner is Endpoint for inner in models_in(annotation)):
        kind = tongue.say("list of [endpoints](#endpoint)", "[接口](#endpoint)列表")
    if any(inner is Criterion for inner in models_in(annotation)):
        kind = tongue.say("mapping of text to [criterion](#criterion)", "文本到[考量](#criterion)的映射")
    limits = "" if unit_of(annotation) else bounds(info, tongue)
    return [
        tick(leaf.path), f"{kind}{tongue.say(', ', '，')}{limits}" if limits else kind, default_words(info, annotation, tongue), meaning,
    ]  # fmt: skip


def _inner(tongue: Tongue, model: type[BaseModel]) -> str:
    head = [
        tongue.say("field", "字段"), tongue.say("type and unit", "类型与单位"), tongue.say("default", "默认值"), tongue.say("meaning", "含义"),
    ]  # fmt: skip
    rows = [_row(tongue, Leaf(name, model, name)) for name in model.model_fields]
    return f"### {model.__name__.lower()}\n\n{tongue.code(first_line(model))}\n\n{table(head, rows)}"
