"""A search space draws, enumerates, checks and reads points; around a variant, that variant is its default."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bakeoff.schema import CostPrior, Strategy, UserError, Variant, Words, canonical
from bakeoff.schema.space import Condition, Parameter, Space, Told

W = Words(zh="设置", en="setting")
RATE = Parameter(name="rate", label=W, low=0.001, high=1.0, log=True, absent=0.1, marks=(0.01, 0.1))
DEPTH = Parameter(
    name="tree.depth",
    label=W,
    kind="int",
    low=2,
    high=12,
    absent=6,
    marks=(3, 6, 9),
    slows=("build_per_1000",),
    slack=6.0,
)
KIND = Parameter(name="kind", label=W, kind="categorical", choices=("a", "b", None), absent="a", marks=("a", "b"))
SHAPE = Parameter(
    name="shape", label=W, kind="categorical", choices=((1, 2), (1, 3)), absent=(1, 2), marks=((1, 2), (1, 3)),
    when=Condition(parameter="kind", values=("b",)),
)  # fmt: skip
SHARE = Parameter(name="share", label=W, low=0.0, high=0.3, step=0.05, absent=0.1)
EPOCHS = Parameter(name="strategy.epochs", label=W, kind="int", low=1, high=8, log=True, absent=1)
ALL = (RATE, DEPTH, KIND, SHAPE, SHARE, EPOCHS)


def variant(**params: Any) -> Variant:
    return Variant(name="v", label=W, params=params)


@pytest.mark.parametrize(
    "wrong",
    [
        {"low": 1.0, "high": 1.0, "absent": 1.0}, {"low": 0.0, "high": 1.0, "log": True, "absent": 0.5}, {"absent": 0.5},
        {"low": 0.1, "high": 1.0, "log": True, "step": 0.1, "absent": 0.1}, {"low": 0.0, "high": 1.0, "absent": 2.0},
        {"low": 0.0, "high": 1.0, "absent": 0.5, "marks": (3.0,)}, {"kind": "categorical", "absent": 1},
        {"kind": "categorical", "choices": (1, 1), "absent": 1}, {"kind": "categorical", "choices": (1, 2), "absent": 3},
        {"low": 0.0, "high": 1.0, "absent": True}, {"low": 0.0, "high": 1.0, "absent": float("nan")},
    ],
)  # fmt: skip
def test_a_parameter_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, UserError)):
        Parameter(name="x", label=W, **wrong)


@pytest.mark.parametrize("parameters", [(RATE, RATE), (SHAPE, KIND), (SHAPE,)])
def test_a_space_that_contradicts_itself_is_refused(parameters: tuple[Parameter, ...]) -> None:
    with pytest.raises(ValidationError):
        Space(parameters=parameters)


def test_a_condition_on_a_value_that_cannot_be_is_refused() -> None:
    never = SHAPE.model_copy(update={"when": Condition(parameter="kind", values=("c",))})
    with pytest.raises((ValidationError, UserError)):
        Space(parameters=(KIND, never))


def test_around_a_variant_the_default_is_what_the_variant_says() -> None:
    space = Space.around(variant(tree={"depth": 3, "other": 1}, kind="b", far=7), ALL)
    assert space.default == {
        "rate": 0.1,
        "tree.depth": 3,
        "kind": "b",
        "shape": (1, 2),
        "share": 0.1,
        "strategy.epochs": 1,
    }
    assert space.fixed == {"tree": {"other": 1}, "far": 7}
    trained = variant().model_copy(update={"strategy": Strategy(epochs=4)})
    assert Space.around(trained, ALL).default["strategy.epochs"] == 4


def test_a_variant_with_other_settings_is_no_point() -> None:
    space = Space.around(variant(far=7), ALL)
    assert space.read(variant(far=7, rate=0.5)) == {**space.default, "rate": 0.5}
    assert space.read(variant(far=8)) is None
    assert space.read(variant(far=7, tree={"depth": 3, "other": 1})) is None
    assert space.read(variant(far=7, rate=5.0)) is None
    assert space.read(variant(far=7, kind="b", shape=[1, 3])) == {**space.default, "kind": "b", "shape": (1, 3)}


@given(st.integers(0, 2**31))
def test_every_sample_is_a_point_and_survives_json(seed: int) -> None:
    space = Space.around(variant(), ALL)
    point = space.sample(np.random.default_rng(seed))
    assert space.checked(point) == point
    assert ("shape" in point) == (point["kind"] == "b")
    assert 0.001 <= point["rate"] <= 1.0  # type: ignore[operator]
    assert canonical(float(f"{point['rate']:.3g}")) == canonical(point["rate"])
    assert round(point["share"] / 0.05, 9) % 1 == 0  # type: ignore[operator]
    told = Told(params=point, value=0.5)
    assert Told.model_validate_json(told.model_dump_json()) == told
    assert Space.model_validate_json(space.model_dump_json()) == space


def test_samples_reach_the_ends_and_every_choice_and_are_even_on_their_scale() -> None:
    space = Space.around(variant(), ALL)
    rng = np.random.default_rng(3)
    points = [space.sample(rng) for _ in range(4000)]
    assert {point["tree.depth"] for point in points} == set(range(2, 13))
    assert {point["strategy.epochs"] for point in points} == set(range(1, 9))
    assert {point["kind"] for point in points} == {"a", "b", None}
    assert {point["share"] for point in points} == {0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3}
    below = np.mean([point["rate"] < 0.0316 for point in points])  # half of the way on a logarithmic scale
    assert abs(below - 0.5) < 4 * 0.5 / np.sqrt(4000)
    depths = np.bincount([point["tree.depth"] for point in points])[2:]
    assert ((depths - 4000 / 11) ** 2 / (4000 / 11)).sum() < 29.6  # chi-square, 10 degrees of freedom, p = 0.001


def test_the_grid_is_every_combination_of_the_marks_once() -> None:
    points = list(Space.around(variant(), ALL).grid())
    texts = {canonical(point) for point in points}
    assert len(points) == len(texts) == 2 * 3 * (1 + 2)  # shape counts only where kind is b
    assert all(point["share"] == 0.1 for point in points)
    assert {(point["rate"], point["tree.depth"], point["kind"], point.get("shape")) for point in points} == {
        (rate, depth, kind, shape)
        for rate in (0.01, 0.1)
        for depth in (3, 6, 9)
        for kind, shape in (("a", None), ("b", (1, 2)), ("b", (1, 3)))
    }


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ({"speed": 1}, "no such parameter"), ({"rate": 2.0}, "0.001 to 1"), ({"rate": "0.1"}, "range"), ({"kind": "c"}, "choices"),
        ({"tree.depth": True}, "range"),
    ],
)  # fmt: skip
def test_what_is_no_point_is_refused_with_the_range(point: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Space.around(variant(), ALL).checked(point)


def test_numbers_are_kept_as_the_parameter_keeps_them() -> None:
    space = Space.around(variant(), ALL)
    point = space.checked({"rate": 0.123456, "tree.depth": 4.0, "share": 0.12})
    assert (point["rate"], point["tree.depth"], point["share"]) == (0.123, 4, 0.1)
    assert isinstance(point["tree.depth"], int)


def test_the_key_is_the_content_without_the_words() -> None:
    space = Space.around(variant(), ALL)
    other = [parameter.model_copy(update={"label": Words(zh="别的", en="other")}) for parameter in ALL]
    assert Space.around(variant(), other).key == space.key
    assert Space.around(variant(rate=0.2), ALL).key != space.key
    assert Space.around(variant(far=1), ALL).key != space.key


def test_seconds_follow_the_settings_that_cost_time() -> None:
    space = Space.around(variant(), ALL)
    prior = CostPrior(build_fixed=1.0, build_per_1000=2.0, predict_per_1000=3.0)
    assert space.cost(prior, {"tree.depth": 12}) == prior.model_copy(update={"build_per_1000": 2.0 * 18 / 12})
    assert space.cost(prior, {"rate": 0.5}) == prior
    assert space.cost(prior, space.default) == prior
