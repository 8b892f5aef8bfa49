"""Specifications and usages for the tests of economics."""

from __future__ import annotations

from typing import Any

from bakeoff.economics import Usage
from bakeoff.schema import Endpoint, Measurement, Spec


def make_spec(**changes: Any) -> Spec:
    content: dict[str, Any] = {
        "name": "t", "task": "text-classification", "data": {"file": "x.csv", "target": "y"},
        "traffic": {"volume": "200k/day", "peak": "40/s", "horizon": "12mo"},
    }  # fmt: skip
    return Spec.model_validate({**content, **changes})


def measured(name: str, value: float, low: float | None = None, high: float | None = None) -> Measurement:
    return Measurement(name=name, value=value, low=low, high=high)


def make_usage(**changes: Any) -> Usage:
    facts: dict[str, Any] = {
        "candidate": "encoder.e5.none.onnxruntime", "family": "encoder", "simplicity": 5, "trains": True, "threads": 1,
        "train_rows": 8000, "train_seconds": measured("train_seconds", 600.0),
        "capacity": measured("capacity", 60.0, 50.0, 65.0), "memory": measured("memory", 5e8),
    }  # fmt: skip
    return Usage(**{**facts, **changes})


def remote_usage(model: str = "deepseek-chat", **prices: float) -> Usage:
    return Usage(
        candidate="llm_prompt.remote.none.openai_api", family="llm_prompt", simplicity=5, trains=False, threads=1, train_rows=0,
        capacity=measured("capacity", 5.0), tokens_in=measured("tokens_in", 200.0), tokens_out=measured("tokens_out", 2.0),
        endpoint=Endpoint(name="remote", url="https://api.example.com/v1", model=model, **prices),
    )  # fmt: skip
