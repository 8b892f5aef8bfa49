"""The check suite of tasks, generated over every task plugin found."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff import registry
from bakeoff.schema.plugin import TaskTraits
from bakeoff.schema.spec import DataSpec, Spec
from bakeoff.tasks.scoring import score, score_draws

TASKS = registry.plugins("tasks")


@pytest.fixture(params=sorted(TASKS), ids=lambda name: f"{name}")
def task(request: pytest.FixtureRequest) -> TaskTraits:
    traits: TaskTraits = TASKS[request.param].traits
    return traits


def test_is_declared(task: TaskTraits) -> None:
    assert task.label.zh
    assert task.label.en
    assert task.default_metric in task.metrics


def test_survives_a_round_trip(task: TaskTraits) -> None:
    assert TaskTraits.model_validate_json(task.model_dump_json()) == task


@pytest.mark.parametrize("name", sorted(TASKS))
def test_is_known_to_the_specification(name: str) -> None:
    spec = Spec(name="x", task=name.replace("_", "-"), data=DataSpec(file="a.csv", target="y"))  # type: ignore[arg-type]
    assert spec.task == name.replace("_", "-")


def test_every_metric_scores_and_agrees_with_its_weighted_form(task: TaskTraits) -> None:
    draw = np.random.default_rng(0)
    actual = draw.integers(0, 2, 80)
    chances = np.stack([1 - (p := draw.random(80)), p], axis=1)
    predicted = chances.argmax(axis=1)
    equal = np.full((1, 80), 1 / 80)
    for metric in task.metrics:
        one = score(metric, actual, predicted, chances, 1)
        assert 0 <= one <= 1
        assert score_draws(metric, actual, predicted, chances, 1, equal)[0] == pytest.approx(one, abs=1e-6)


def test_a_family_serves_it(task: TaskTraits) -> None:
    name = next(key for key, plugin in TASKS.items() if plugin.traits is task).replace("_", "-")
    families = {family for family, plugin in registry.plugins("models").items() if name in plugin.traits.tasks}
    assert "baseline" in families
    assert len(families) > 2
