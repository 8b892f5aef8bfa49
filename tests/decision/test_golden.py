"""Golden decisions: fixed synthetic evidence leads to the decision on file.

Numbers may differ in the last digits between processors (sums in single precision), so they are compared with a tolerance.
After an intended change: ``BAKEOFF_GOLDEN=write pytest tests/decision/test_golden.py``, then read the difference.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bakeoff.decision import decide
from bakeoff.schema import Decision
from bakeoff.store.evidence import StudyEvidence
from tests.decision.worlds import CHAR, E5, LLM, SPLIT, Stack, make_world, reviews

GOLDEN = Path(__file__).parents[1] / "golden"
_TRAFFIC = {"volume": "200k/day", "peak": "40/s", "growth": "20%/yr", "horizon": "12mo"}


def _reviews() -> StudyEvidence:
    return reviews()


def _reviews_priced() -> StudyEvidence:
    return reviews(
        traffic=_TRAFFIC, value={"per_correct": 0.002, "errors": {"neg->pos": 0.05}}, costs={"retrain": "3mo"}
    )


def _few_labels() -> StudyEvidence:
    linear = dataclasses.replace(CHAR, accuracy=0.76, rungs=((0.11, 0.64), (0.33, 0.70), (1.0, 0.76)))
    prompt = dataclasses.replace(LLM, final=True, elimination=None, rungs=((1.0, 0.82),), limit=None, requests=120)
    needs = {"quality": {"metric": "accuracy", "floor": 0.7}, "latency": {"p95": "2s"}}
    split = SPLIT.model_copy(update={"train": 300, "confirm": 400, "select": 300})
    return make_world([linear, prompt], split=split, requirements=needs)


def _twins() -> StudyEvidence:
    first = Stack("boosting.lightgbm.none.native", 0.82, simplicity=4)
    second = dataclasses.replace(first, id="linear.scorecard.none.native", same_as=first.id, simplicity=1)
    return make_world([first, second], seed=7)


def _infeasible() -> StudyEvidence:
    needs = {"quality": {"metric": "macro_f1", "floor": 0.86}, "latency": {"p95": "10ms"}}
    return make_world([CHAR, E5, LLM], requirements=needs)


WORLDS = {
    "reviews": _reviews, "reviews-priced": _reviews_priced, "few-labels": _few_labels, "twins": _twins, "infeasible": _infeasible,
}  # fmt: skip


def essence(decision: Decision) -> dict[str, Any]:
    """What a golden decision pins: outcome, statuses and figures; texts are read by other tests."""
    return {
        "outcome": decision.outcome,
        "recommended": decision.recommended.id if decision.recommended else None,
        "runner_up": decision.runner_up,
        "p_best": decision.p_best,
        "regret": decision.regret,
        "score": decision.score.value if decision.score else None,
        "cost": decision.cost.total if decision.cost else None,
        "rows_to_separate": decision.rows_to_separate,
        "pareto": list(decision.pareto),
        "candidates": {item.id: {"status": item.status, "p_feasible": item.p_feasible} for item in decision.candidates},
        "constraints": {item.name: item.verdict for item in decision.constraints},
        "relaxations": {
            item.constraint: {"needed": item.needed, "admits": list(item.admits)} for item in decision.relaxations
        },
        "flips": {f"{item.premise} {item.direction}": {"at": item.flips_at, "to": item.to} for item in decision.flips},
    }


def _close(ours: Any, theirs: Any, place: str) -> None:
    if isinstance(theirs, dict):
        assert sorted(ours) == sorted(theirs), place
        for key in theirs:
            _close(ours[key], theirs[key], f"{place}/{key}")
    elif isinstance(theirs, float) or isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=0.02, abs=0.005), place
    elif isinstance(theirs, int) and ours is not None:
        assert ours == pytest.approx(theirs, rel=0.05), place
    else:
        assert ours == theirs, place


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_golden(name: str) -> None:
    found, file = essence(decide(WORLDS[name]())), GOLDEN / f"decision-{name}.json"
    if os.environ.get("BAKEOFF_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _close(found, json.loads(file.read_text(encoding="utf-8")), name)
