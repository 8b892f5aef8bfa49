"""Records as tables: every field with type, unit, default and meaning."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from docs._reference.text import Tongue, table, tick
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from bakeoff.schema.base import Words

# parser of the unit → (kind, kind in Chinese, example)
_UNITS = {
    "parse_duration": ("duration", "时长", "50ms"),
    "parse_size": ("size", "大小", "300MB"),
    "parse_rate": ("rate", "速率", "200k/day"),
    "parse_money": ("money", "金额", "0.5"),
    "parse_hourly": ("money per hour", "每小时金额", "300/h"),
    "parse_share": ("share", "比例", "2%"),
    "parse_growth": ("growth a year", "年增长", "20%/yr"),
}
_PLAIN = {
    str: ("text", "文本"), int: ("whole number", "整数"), float: ("number", "数"), bool: ("yes or no", "是或否"),
    Any: ("anything", "任意"),
}  # fmt: skip
_ELSEWHERE = {"Artifact": "bundle", "Promise": "bundle"}
"""Pages of records that have their section on another page; the others are on that of the decision."""
_SECONDS = ((31_557_600.0, "yr"), (86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))


def options(annotation: Any) -> list[Any]:  # noqa: ANN401 - a type is any object
    """Return the members of a union (or the annotation itself), ``None`` left out."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return [option for part in get_args(annotation) for option in options(part)]
    return [] if annotation is type(None) else [annotation]


def optional(annotation: Any) -> bool:  # noqa: ANN401 - a type is any object
    """Whether ``None`` is among the members of a union."""
    return get_origin(annotation) in {Union, types.UnionType} and type(None) in get_args(annotation)


def unit_of(annotation: Any) -> str | None:  # noqa: ANN401 - a type is any object
    """Return the name of the function that reads the unit of a field, if it has one."""
    for option in options(annotation):
        if get_origin(option) is Annotated:
            for extra in get_args(option)[1:]:
                if isinstance(extra, BeforeValidator):
                    return getattr(extra.func, "__name__", None)
            return unit_of(get_args(option)[0])
    return None


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - a type is any object
    """Yield the records a type mentions."""
    for option in options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            yield option
        else:
            for part in get_args(option):
                if part is not Ellipsis and not isinstance(part, str):
                    yield from models_in(part)


def type_words(annotation: Any, tongue: Tongue) -> str:  # noqa: ANN401 - a type is any object
    """Return a type as a person says it."""
    unit = unit_of(annotation)
    if unit in _UNITS:
        en, zh, example = _UNITS[unit]
        return f"{tongue.say(en, zh)} {tick(example)}"
    said = [_one(option, tongue) for option in options(annotation)]
    return tongue.say(" or ", " 或 ").join(dict.fromkeys(said))


def _one(annotation: Any, tongue: Tongue) -> str:  # noqa: ANN401, PLR0911 - one answer per kind of type
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _one(arguments[0], tongue)
    if origin is Literal:
        return " · ".join(tick(value) for value in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tongue.say("list of ", "列表：") + type_words(arguments[0], tongue)
        return " + ".join(type_words(part, tongue) for part in arguments)
    if origin is dict:
        unit = type_words(arguments[1], tongue)
        return tongue.say(f"mapping of text to {unit}", f"文本到{unit}的映射")
    if annotation is Words:
        return tongue.say("words {zh, en}", "双语文字 {zh, en}")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        name = annotation.__name__
        end = ".md" if tongue.language == "en" else ".zh.md"
        page = "" if name in tongue.here else f"{_ELSEWHERE.get(name, 'decision')}{end}"
        return f"[{name}]({page}#{name.lower()})"
    en, zh = _PLAIN.get(annotation, (str(annotation), str(annotation)))
    return tongue.say(en, zh)


def bounds(info: FieldInfo, tongue: Tongue) -> str:
    """Return the limits of a value, such as ``≥ 0``; units bring their own and are not repeated."""
    signs = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
    found = []
    for extra in info.metadata:
        for kind, (sign, attribute) in signs.items():
            if isinstance(extra, kind):
                found.append(f"{sign} {getattr(extra, attribute):,}")
        if isinstance(extra, MinLen) and isinstance(info.annotation, type):
            found.append(tongue.say(f"{extra.min_length} characters", f"{extra.min_length} 个字符"))
        if isinstance(extra, MaxLen) and not found:
            found.append(f"≤ {extra.max_length}")
        pattern = getattr(extra, "pattern", None)
        if pattern:
            found.append(tick(pattern))
    return tongue.say(", ", "，").join(found)


def default_words(info: FieldInfo, annotation: Any, tongue: Tongue) -> str:  # noqa: ANN401 - a type is any object
    """Return a default as one would write it in the file."""
    if info.is_required():
        return tongue.say("**required**", "**必填**")
    value = info.get_default(call_default_factory=True)
    if value is None:
        return tongue.say("none", "无")
    return tick(_written(value, unit_of(annotation)))


def _written(value: Any, unit: str | None) -> str:  # noqa: ANN401, PLR0911 - one answer per kind of value
    if isinstance(value, bool):
        return str(value).lower()
    if unit == "parse_duration":
        factor, name = next(((f, n) for f, n in _SECONDS if value >= f and value % f == 0), (1.0, "s"))
        return f"{value / factor:g}{name}"
    if unit == "parse_size":
        return f"{value / 2**30:g}GiB"
    if unit == "parse_rate":
        return f"{value * 86_400:g}/day"
    if unit == "parse_hourly":
        return f"{value:g}/h"
    if unit in {"parse_share", "parse_growth"}:
        return (
            f"[{', '.join(_written(item, unit) for item in value)}]"
            if isinstance(value, tuple)
            else f"{100 * value:g}%"
        )
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(f'"{item}"' if not str(item).isalpha() else str(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{}"
    return str(value)


def record_table(model: type[BaseModel], tongue: Tongue, *, defaults: bool = False) -> str:
    """Return the fields of one record as a table."""
    hints = get_type_hints(model, include_extras=True)
    head = [tongue.say("field", "字段"), tongue.say("type", "类型"), tongue.say("meaning", "含义")]
    if defaults:
        head.insert(2, tongue.say("default", "默认值"))
    rows = []
    for name, info in model.model_fields.items():
        kind = type_words(hints[name], tongue)
        if optional(hints[name]):
            kind += tongue.say(" or null", " 或空")
        row = [tick(name), kind, tongue.field(f"{model.__name__}.{name}", info.description)]
        if defaults:
            row.insert(2, default_words(info, hints[name], tongue))
        rows.append(row)
    return table(head, rows)


def reachable(
    model: type[BaseModel], without: frozenset[type[BaseModel]] = frozenset({Words})
) -> list[type[BaseModel]]:
    """Return a record and every record its fields mention, in the order met."""
    found: list[type[BaseModel]] = []

    def visit(current: type[BaseModel]) -> None:
        if current in found or current in without:
            return
        found.append(current)
        for annotation in get_type_hints(current, include_extras=True).values():
            for inner in models_in(annotation):
                visit(inner)

    visit(model)
    return found
