"""A declarative search space: the settings of a variant that may be tuned, their ranges, and what a tuner was told about them.

Does: draw, enumerate, check and read points. Does not know: samplers, families, how anything is built.

>>> space = Space(parameters=(Parameter(name="C", label=Words(zh="C", en="C"), low=0.1, high=10.0, log=True, absent=1.0, marks=(0.1, 1.0)),))
>>> space.default
{'C': 1.0}
>>> list(space.grid())
[{'C': 0.1}, {'C': 1.0}]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from bakeoff.schema.base import Record, Words, canonical, content_key
from bakeoff.schema.candidate import CostPrior, Strategy, Variant
from bakeoff.schema.errors import UserError

if TYPE_CHECKING:
    import numpy as np

Setting = bool | int | float | str | tuple[int, ...] | None
"""A value of a parameter."""
Point = dict[str, Setting]
"""Values by parameter name; parameters whose condition does not hold are left out."""
CostField = Literal["build_fixed", "build_per_1000", "predict_fixed", "predict_per_1000"]

STRATEGY = "strategy."
"""Names that start with it are fields of the variant's ``Strategy``; other names are paths into its ``params``."""
_MISSING = "(not part of the point)"


class Condition(Record):
    """A parameter counts only while another one, declared before it, has one of ``values``."""

    parameter: str
    values: tuple[Setting, ...] = Field(min_length=1)


class Parameter(Record):
    """One setting: where it is written, what it may be, what it is when nobody writes it.

    A float is kept to ``digits`` significant digits, so that a proposal reads well and rounding differs on no machine.
    """

    name: str = Field(pattern=r"^[A-Za-z][\w.]*$", description="Path into the variant's params, or strategy.FIELD.")
    label: Words
    kind: Literal["float", "int", "categorical"] = "float"
    low: float | None = None
    high: float | None = None
    log: bool = Field(False, description="Equal ratios are equally far apart.")
    step: float | None = Field(None, gt=0, description="Values are low plus a multiple of it.")
    digits: int = Field(3, ge=1, le=12)
    choices: tuple[Setting, ...] = ()
    absent: Setting = Field(description="What the builder takes where the setting is not written.")
    default: Setting = Field(None, validate_default=False, description="The value of the variant the space is around.")
    marks: tuple[Setting, ...] = Field((), description="Values of the grid; none: the grid keeps the default.")
    when: Condition | None = None
    slows: tuple[CostField, ...] = Field((), description="Shipped guesses of seconds that grow with value + slack.")
    slack: float = Field(0.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _default(cls, given: Any) -> Any:  # noqa: ANN401 - whatever was passed
        """Take what the builder takes where no default is given."""
        return (
            {**given, "default": given.get("absent")} if isinstance(given, dict) and "default" not in given else given
        )

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.kind == "categorical":
            if len({canonical(choice) for choice in self.choices}) < max(2, len(self.choices)):
                message = f"{self.name}: a choice needs two different values or more"
                raise ValueError(message)
        elif self.low is None or self.high is None or self.low >= self.high or (self.log and self.low <= 0):
            message = f"{self.name}: a range needs low < high, and low > 0 on a logarithmic scale"
            raise ValueError(message)
        elif self.log and self.step is not None:
            message = f"{self.name}: a logarithmic scale has no step"
            raise ValueError(message)
        for value in (self.default, *self.marks):
            self.checked(value)
        return self

    def checked(self, value: Any) -> Setting:  # noqa: ANN401 - whatever was read
        """Return the value as this parameter keeps it.

        Raises:
            UserError: it is of another type, or outside of the range.

        """
        if self.kind == "categorical":
            found = [choice for choice in self.choices if canonical(choice) == canonical(value)]
            if not found:
                what = "not one of the choices"
                raise UserError(what, where=self.name, got=value, allowed=self.choices)
            return found[0]
        assert self.low is not None  # noqa: S101 - checked when made
        assert self.high is not None  # noqa: S101 - checked when made
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not self.low <= value <= self.high:
            what = "not a number in the range"
            raise UserError(what, where=self.name, got=value, allowed=f"{self.low:g} to {self.high:g}")
        return self._kept(float(value))

    def _kept(self, value: float) -> int | float:
        """Round to the step, the whole number or the digits; never out of the range."""
        assert self.low is not None  # noqa: S101 - checked when made
        assert self.high is not None  # noqa: S101 - checked when made
        if self.step is not None:
            value = min(self.low + self.step * round((value - self.low) / self.step), self.high)
        if self.kind == "int":
            return int(min(max(round(value), math.ceil(self.low)), math.floor(self.high)))
        return min(max(float(f"{value:.{self.digits}g}"), self.low), self.high)

    def draw(self, rng: np.random.Generator) -> Setting:
        """Return a random value; every choice, or every (logarithmic) stretch of the range, is equally likely."""
        if self.kind == "categorical":
            return self.choices[int(rng.integers(len(self.choices)))]
        assert self.low is not None  # noqa: S101 - checked when made
        assert self.high is not None  # noqa: S101 - checked when made
        half = (self.step or 1.0) / 2 if self.kind == "int" or self.step else 0.0
        low, high = self.low - half, self.high + half
        if self.log:
            low = max(low, self.low / 2)
            return self._kept(min(max(math.exp(rng.uniform(math.log(low), math.log(high))), self.low), self.high))
        return self._kept(min(max(float(rng.uniform(low, high)), self.low), self.high))

    def holds(self, point: Mapping[str, Setting]) -> bool:
        """Whether the parameter counts, given those declared before it."""
        if self.when is None:
            return True
        chosen = point.get(self.when.parameter, _MISSING)
        return canonical(chosen) in {canonical(value) for value in self.when.values}

    def factor(self, value: Setting, usual: Setting) -> float:
        """Return how much longer the steps in ``slows`` take with ``value`` than with ``usual``."""
        if not isinstance(value, int | float) or not isinstance(usual, int | float) or usual + self.slack <= 0:
            return 1.0
        return (value + self.slack) / (usual + self.slack)


class Space(Record):
    """The settings of one variant that may be tuned.

    Args:
        parameters: in the order they are drawn; a condition looks back only.
        fixed: the variant's other params; a variant that differs in one of them is no point of this space.

    """

    parameters: tuple[Parameter, ...]
    fixed: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def around(cls, variant: Variant, parameters: Sequence[Parameter]) -> Space:
        """Return the space of these parameters whose default point is ``variant`` itself."""
        found = tuple(
            Parameter.model_validate({**dict(parameter), "default": setting(variant, parameter)})
            for parameter in parameters
        )
        return cls(parameters=found, fixed=_others(variant, found))

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        before: dict[str, Parameter] = {}
        for parameter in self.parameters:
            if parameter.name in before:
                message = f"{parameter.name} is declared twice"
                raise ValueError(message)
            if parameter.when is not None:
                other = before.get(parameter.when.parameter)
                if other is None:
                    message = f"{parameter.name}: its condition looks at a parameter that is not declared before it"
                    raise ValueError(message)
                for value in parameter.when.values:
                    other.checked(value)
            before[parameter.name] = parameter
        return self

    @property
    def key(self) -> str:
        """Content address of everything but the words people read."""
        return content_key("space", [p.model_dump(mode="json", exclude={"label"}) for p in self.parameters], self.fixed)

    @property
    def default(self) -> Point:
        """The point of the variant the space is around."""
        return self.active({parameter.name: parameter.default for parameter in self.parameters})

    def parameter(self, name: str) -> Parameter:
        """Return the parameter of this name.

        Raises:
            UserError: there is none.

        """
        found = {parameter.name: parameter for parameter in self.parameters}
        if name not in found:
            what = "no such parameter"
            raise UserError(what, got=name, allowed=list(found))
        return found[name]

    def active(self, point: Mapping[str, Any]) -> Point:
        """Return the point without the parameters whose condition does not hold; where a value is missing, the default's."""
        found: Point = {}
        for parameter in self.parameters:
            if parameter.holds(found):
                found[parameter.name] = parameter.checked(point.get(parameter.name, parameter.default))
        return found

    def checked(self, point: Mapping[str, Any]) -> Point:
        """Return the point as this space keeps it.

        Raises:
            UserError: it names a parameter that is none, or a value out of its range.

        """
        for name in point:
            self.parameter(name)
        return self.active(point)

    def sample(self, rng: np.random.Generator) -> Point:
        """Return a random point."""
        found: Point = {}
        for parameter in self.parameters:
            if parameter.holds(found):
                found[parameter.name] = parameter.draw(rng)
        return found

    def grid(self) -> Iterator[Point]:
        """Yield every point of the grid once: all combinations of the marks, everything else at its default."""
        axes = [parameter.marks or (parameter.default,) for parameter in self.parameters]
        names = [parameter.name for parameter in self.parameters]
        seen: set[str] = set()
        for values in itertools.product(*axes):
            point = self.active(dict(zip(names, values, strict=True)))
            if (text := canonical(point)) not in seen:
                seen.add(text)
                yield point

    def read(self, variant: Variant) -> Point | None:
        """Return the point a variant stands at, None when it is none of this space."""
        if canonical(_others(variant, self.parameters)) != canonical(self.fixed):
            return None
        try:
            return self.active({parameter.name: setting(variant, parameter) for parameter in self.parameters})
        except UserError:
            return None

    def changed(self, point: Mapping[str, Any]) -> Point:
        """Return those settings of a point that differ from the default's."""
        usual = self.default
        return {
            name: value for name, value in self.active(point).items()
            if name not in usual or canonical(usual[name]) != canonical(value)
        }  # fmt: skip

    def cost(self, prior: CostPrior, point: Mapping[str, Any]) -> CostPrior:
        """Return the guesses of what a variant's steps cost at this point, from those at the default."""
        seconds = dict(prior)
        for name, value in self.changed(point).items():
            parameter = self.parameter(name)
            for field in parameter.slows:
                seconds[field] *= parameter.factor(value, parameter.default)
        return CostPrior(**seconds)


class Told(Record):
    """What a tuner is told about one point.

    Args:
        params: the point.
        value: what is to be large; None when it failed. Of another study (``prior``): in standard deviations from that study's mean.
        seconds: what is to be small where two goals are pursued.
        constraints: violation by name: above 0 is too much, at or below is kept.
        fraction: share of the training rows it was built on.
        failed: it could not be built.
        prior: from an earlier study on other data.

    """

    params: dict[str, Setting]
    value: float | None = None
    seconds: float = 0.0
    constraints: dict[str, float] = Field(default_factory=dict)
    fraction: float = Field(1.0, ge=0, le=1)
    failed: bool = False
    prior: bool = False


def setting(variant: Variant, parameter: Parameter) -> Any:  # noqa: ANN401 - what is written there
    """Return the value a variant gives a parameter, or what the builder takes where it is not written."""
    if parameter.name.startswith(STRATEGY):
        return getattr(variant.strategy or Strategy(), parameter.name.removeprefix(STRATEGY))
    found: Any = variant.params
    for part in parameter.name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return parameter.absent
        found = found[part]
    return found


def _others(variant: Variant, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the variant's params without those that are parameters; a table of which nothing is left is left out."""
    paths = {parameter.name for parameter in parameters}

    def left(table: Mapping[str, Any], path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in table.items():
            at = f"{path}{name}"
            if at in paths:
                continue
            inner = left(value, f"{at}.") if isinstance(value, Mapping) else value
            if inner != {} or value == {}:
                found[name] = inner
        return found

    return left(variant.params, "")
