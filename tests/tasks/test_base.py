"""The positive class, prices of mistakes and the cost matrix."""

from __future__ import annotations

import pytest

from bakeoff.registry import plugin
from bakeoff.schema import Spec, SpecError, UserError
from bakeoff.tasks.base import cost_matrix, error_prices, positive_class, split_mistake

CLASSES = ("good", "bad")


def _spec(**changes: object) -> Spec:
    data = {"file": "x.csv", "target": "y", **changes.pop("data", {})}
    return Spec.model_validate({"name": "t", "task": "tabular-classification", "data": data, **changes})


def test_rarer_class_is_positive_by_default() -> None:
    assert positive_class(_spec(), CLASSES, (700, 300)) == 1
    assert positive_class(_spec(), CLASSES, (300, 700)) == 0
    assert positive_class(_spec(), CLASSES, (500, 500)) == 1


def test_named_positive_class_and_its_mistake() -> None:
    assert positive_class(_spec(data={"positive": "good"}), CLASSES, (9, 1)) == 0
    with pytest.raises(UserError, match="no such label"):
        positive_class(_spec(data={"positive": "ugly"}), CLASSES, (9, 1))


def test_cost_matrix_adds_the_lost_worth_to_the_price() -> None:
    spec = _spec(value={"per_correct": 2, "errors": {"bad->good": 50, "good->bad": 10}})
    assert cost_matrix(spec.value, CLASSES) == ((0.0, 12.0), (52.0, 0.0))


def test_without_priced_mistakes_the_most_probable_class_is_right() -> None:
    assert cost_matrix(_spec(value={"per_correct": 2}).value, CLASSES) is None
    assert cost_matrix(_spec(value={"errors": {"bad->good": 0}}).value, CLASSES) is None


def test_all_wrong_prices_are_listed_at_once() -> None:
    spec = _spec(value={"errors": {"bad->ugly": 1, "bad": 2, "bad->bad": 3, "good->bad": -1}})
    with pytest.raises(SpecError) as caught:
        error_prices(spec.value, CLASSES)
    assert len(caught.value.problems) == 4
    assert "value.errors.bad->ugly" in str(caught.value)


def test_arrow_may_be_typographic() -> None:
    assert split_mistake("坏 → 好") == ("坏", "好")
    assert split_mistake("坏好") is None


@pytest.mark.parametrize("name", ["text_classification", "tabular_classification"])
def test_plugins_are_found_by_file_name(name: str) -> None:
    task = plugin("tasks", name)
    assert task.traits.default_metric in task.traits.metrics
    assert task.positive(_spec(), CLASSES, (3, 2)) == 1
    assert task.costs(_spec(), CLASSES) is None
