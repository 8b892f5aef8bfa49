"""Quantities as people write them (``50ms``, ``1GiB``, ``200k/day``) read into base units.

Base units: seconds, bytes, events per second, money per hour, shares (0..1), growth per year.
A bare number is taken as already being in the base unit.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_NUMBER = re.compile(r"^\s*([-+]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*$")
_MULTIPLES = {"": 1.0, "k": 1e3, "K": 1e3, "万": 1e4, "M": 1e6, "百万": 1e6, "亿": 1e8, "G": 1e9}
_YEAR = 365.25 * 86400.0
SECONDS = {
    "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0,
    "d": 86400.0, "day": 86400.0, "w": 604800.0, "week": 604800.0, "mo": _YEAR / 12, "month": _YEAR / 12,
    "y": _YEAR, "yr": _YEAR, "year": _YEAR, "毫秒": 1e-3, "秒": 1.0, "分钟": 60.0, "小时": 3600.0, "天": 86400.0,
    "个月": _YEAR / 12, "年": _YEAR,
}  # fmt: skip
BYTES = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def _split(text: str, kind: str) -> tuple[float, str]:
    found = _NUMBER.match(text)
    if not found:
        message = f"'{text}' is not a {kind}: it must start with a number"
        raise ValueError(message)
    return float(found[1].replace("_", "").replace(",", "")), found[2]


def _lookup(unit: str, table: dict[str, float] | dict[str, int], kind: str, text: str) -> float:
    if unit in table:
        return float(table[unit])
    lowered = {name.lower(): factor for name, factor in table.items()}
    if unit.lower() in lowered:
        return float(lowered[unit.lower()])
    message = f"'{text}' is not a {kind}: unit '{unit}' is unknown; allowed: {', '.join(table)}"
    raise ValueError(message)


def parse_duration(value: object) -> object:
    """``50ms``, ``20m``, ``12mo`` → seconds."""
    if not isinstance(value, str):
        return value
    number, unit = _split(value, "duration")
    if not unit:
        message = f"'{value}' needs a unit of time, such as {value}ms or {value}s"
        raise ValueError(message)
    return number * _lookup(unit, SECONDS, "duration", value)


def parse_size(value: object) -> object:
    """``300MB``, ``1GiB`` → bytes."""
    if not isinstance(value, str):
        return value
    number, unit = _split(value, "size")
    if not unit:
        message = f"'{value}' needs a unit of size, such as {value}MB"
        raise ValueError(message)
    return number * _lookup(unit, BYTES, "size", value)


def parse_rate(value: object) -> object:
    """``40/s``, ``200k/day`` → events per second."""
    if not isinstance(value, str):
        return value
    number, rest = _split(value, "rate")
    multiple, slash, unit = rest.partition("/")
    if not slash:
        message = f"'{value}' is not a rate: write for example {value}/s or {value}/day"
        raise ValueError(message)
    scale = _lookup(multiple.strip(), _MULTIPLES, "rate", value)
    return number * scale / _lookup(unit.strip(), SECONDS, "rate", value)


def parse_money(value: object) -> object:
    """``50``, ``0.5 CNY``, ``3k`` → an amount in the specification's currency."""
    if not isinstance(value, str):
        return value
    number, rest = _split(value, "amount of money")
    parts = rest.split()
    if parts and parts[-1].isalpha() and len(parts[-1]) == 3 and parts[-1].isupper():
        parts = parts[:-1]
    return number * _lookup("".join(parts), _MULTIPLES, "amount of money", value)


def parse_hourly(value: object) -> object:
    """``300/h``, ``0.8 CNY/h``, ``60k/mo`` → money per hour."""
    if not isinstance(value, str):
        return value
    amount, slash, unit = value.partition("/")
    if not slash:
        message = f"'{value}' is not a price over time: write for example {value}/h"
        raise ValueError(message)
    money = parse_money(amount)
    assert isinstance(money, float)  # noqa: S101 - parse_money of a string returns a float or raises
    return money / _lookup(unit.strip(), SECONDS, "price over time", value) * 3600.0


def parse_share(value: object) -> object:
    """``2%`` → 0.02; a bare number is a share already."""
    if not isinstance(value, str):
        return value
    number, unit = _split(value, "share")
    if unit not in {"%", ""}:
        message = f"'{value}' is not a share: write 2% or 0.02"
        raise ValueError(message)
    return number / 100.0 if unit == "%" else number


def parse_growth(value: object) -> object:
    """``20%/yr`` → 0.2 a year."""
    if not isinstance(value, str):
        return value
    share, slash, unit = value.partition("/")
    years = _lookup(unit.strip(), SECONDS, "growth", value) / _YEAR if slash else 1.0
    parsed = parse_share(share)
    assert isinstance(parsed, float)  # noqa: S101 - parse_share of a string returns a float or raises
    return parsed / years


def _schema(example: str, what: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [{"type": "string", "examples": [example]}, {"type": "number"}], "description": what}
    )


Seconds = Annotated[
    float, BeforeValidator(parse_duration), Field(gt=0), _schema("50ms", "a duration; a number is seconds")
]
Bytes = Annotated[float, BeforeValidator(parse_size), Field(gt=0), _schema("300MB", "a size; a number is bytes")]
PerSecond = Annotated[
    float, BeforeValidator(parse_rate), Field(gt=0), _schema("200k/day", "a rate; a number is per second")
]
Price = Annotated[
    float,
    BeforeValidator(parse_money),
    Field(le=1e15),
    _schema("0.5 CNY", "an amount in the specification's currency"),
]
"""An amount of either sign, for the reader to refuse with the right advice."""
Money = Annotated[
    float,
    BeforeValidator(parse_money),
    Field(ge=0, le=1e15),
    _schema("0.5 CNY", "an amount in the specification's currency"),
]
PerHour = Annotated[
    float, BeforeValidator(parse_hourly), Field(ge=0), _schema("300/h", "money over time; a number is per hour")
]
Share = Annotated[float, BeforeValidator(parse_share), Field(ge=0), _schema("2%", "a share; 0.02 is 2 %")]
Growth = Annotated[float, BeforeValidator(parse_growth), Field(gt=-1), _schema("20%/yr", "growth a year")]


def say_seconds(seconds: float) -> str:
    """Write a duration with three significant digits in the unit that fits: 0.0123 → ``12.3 ms``."""
    for limit, unit, factor in ((1e-3, "µs", 1e6), (1.0, "ms", 1e3), (120.0, "s", 1.0), (7200.0, "min", 1 / 60)):
        if abs(seconds) < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 3600:.3g} h" if abs(seconds) < 172800 else f"{seconds / 86400:.3g} d"


def say_bytes(count: float) -> str:
    """Write a size in decimal units with three significant digits: 23_100_000 → ``23.1 MB``."""
    for limit, unit, factor in ((1e3, "B", 1.0), (1e6, "kB", 1e3), (1e9, "MB", 1e6), (1e12, "GB", 1e9)):
        if abs(count) < limit:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e12:.3g} TB"
