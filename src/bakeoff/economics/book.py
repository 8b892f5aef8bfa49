"""The price book: dated figures with ranges, sources and provenance; ours overlaid by the team's own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError, model_validator

from bakeoff.schema.base import Record, Words
from bakeoff.schema.errors import BakeoffError, SpecError, UserError
from bakeoff.schema.units import Bytes

_OURS = Path(__file__).with_name("price_book.yaml")
_SECTIONS = ("exchange", "machines", "effort", "tokens")


class Price(Record):
    """A figure with its range: ``typical`` is the median, all of the mass lies between ``low`` and ``high``."""

    low: float = Field(ge=0)
    typical: float = Field(ge=0)
    high: float = Field(ge=0)
    currency: str | None = Field(None, description="None: the book's own.")
    provenance: Literal["assumed", "quoted", "measured"] = "assumed"
    source: str = Field(description="Where the figure comes from, in words a reader can check.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.typical <= self.high:
            message = f"low ≤ typical ≤ high does not hold: {self.low}, {self.typical}, {self.high}"
            raise ValueError(message)
        return self

    def at(self, uniform: ArrayLike) -> NDArray[np.float64]:
        """Return the figure at quantiles ``uniform`` in [0, 1]: linear from low to typical to high (median typical)."""
        return np.interp(np.asarray(uniform, dtype=np.float64), (0.0, 0.5, 1.0), (self.low, self.typical, self.high))


class Machine(Record):
    """A machine to deploy on; ``price`` an hour, ``speed`` of a core against one of the machine that measured."""

    label: Words
    cores: int = Field(ge=1)
    memory: Bytes
    gpu: bool = False
    price: Price
    speed: Price


class Effort(Record):
    """Working hours of one model family: once to build, and per month to run."""

    build: Price
    upkeep: Price


class TokenPrices(Record):
    """Prices of a million tokens."""

    input: Price
    output: Price


class PriceBook(Record):
    """All figures that do not come from the specification or a measurement."""

    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    exchange: dict[str, Price] = Field(default_factory=dict)
    machines: dict[str, Machine]
    effort: dict[str, Effort]
    tokens: dict[str, TokenPrices]

    def machine(self, name: str) -> Machine:
        """Return a machine, or say which there are."""
        if name not in self.machines:
            what = "the price book has no such machine"
            raise UserError(what, where="costs.hardware", got=name, allowed=sorted(self.machines))
        return self.machines[name]

    def effort_of(self, family: str) -> Effort:
        """Return a family's effort, that of 'other' where the book does not know it."""
        return self.effort.get(family, self.effort["other"])

    def tokens_of(self, model: str) -> TokenPrices:
        """Return the prices of the entry with the longest name contained in ``model``, else of 'other'."""
        known = [name for name in self.tokens if name.lower() in model.lower()]
        return self.tokens[max(known, key=len)] if known else self.tokens["other"]

    def rate(self, currency: str | None, into: str) -> float:
        """Return what one unit of ``currency`` (None: the book's) is worth in the currency ``into``, at the typical rate."""
        return self._unit(currency or self.currency) / self._unit(into)

    def _unit(self, currency: str) -> float:
        if currency == self.currency:
            return 1.0
        if currency not in self.exchange:
            what = "the price book has no exchange rate for this currency"
            hint = f"add it under 'exchange' in a price book of your own, or use {self.currency}"
            raise UserError(what, where="value.currency", got=currency, allowed=sorted(self.exchange), try_=hint)
        return self.exchange[currency].typical

    def with_local(self, cores: int, memory: float) -> PriceBook:
        """Return the book with ``local`` being a machine of that size: the one that measured."""
        local = self.machines["local"].model_copy(update={"cores": max(1, cores), "memory": memory})
        return self.model_copy(update={"machines": {**self.machines, "local": local}})


@cache
def default_book() -> PriceBook:
    """Return the price book that comes with the package."""
    return _validated(_read(_OURS), _OURS.name)


def load_book(path: str | Path | None, base_dir: str | Path = ".") -> PriceBook:
    """Return our price book overlaid by the entries of the file at ``path`` (relative to ``base_dir``), if one is given.

    Raises:
        SpecError: the file is missing, is not YAML or has wrong entries; all of them are listed.

    """
    if path is None:
        return default_book()
    file = Path(base_dir) / path
    try:
        own = _read(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError([UserError("the price book cannot be read", where=str(path), got=reason)]) from error
    return _validated(_overlaid(_read(_OURS), own, str(path)), str(path))


def _read(file: Path) -> dict[str, Any]:
    found = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    if not isinstance(found, dict):
        what = "a price book is a mapping with 'date', 'currency', 'machines', 'effort', 'tokens'"
        raise SpecError([UserError(what, where=file.name, got=type(found).__name__)])
    return found


def _overlaid(ours: dict[str, Any], own: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return ``ours`` with the entries of ``own`` on top; ours keep their currency when the team's book is in another one."""
    merged = {**ours, **{key: value for key, value in own.items() if key not in _SECTIONS}}
    for section in _SECTIONS:
        given = own.get(section) or {}
        if not isinstance(given, dict):
            raise SpecError([UserError("a section is a mapping of names", where=f"{name}: {section}", got=str(given))])
        merged[section] = {**ours[section], **given}
    if merged["currency"] != ours["currency"]:
        what = "a price book of your own is written in our book's currency; single prices may name another"
        raise SpecError(
            [UserError(what, where=f"{name}: currency", got=merged["currency"], allowed=[ours["currency"]])]
        )
    return merged


def _validated(content: Mapping[str, Any], name: str) -> PriceBook:
    try:
        return PriceBook.model_validate(content)
    except ValidationError as error:
        problems: list[BakeoffError] = [
            UserError(
                found["msg"], where=f"{name}: {'.'.join(str(part) for part in found['loc'])}", got=str(found["input"])
            )
            for found in error.errors()
        ]
        raise SpecError(problems) from error
