"""Spans of requests, with the real OpenTelemetry SDK."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bakeoff.serving import tracing

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exported() -> tuple[tracing.Tracer, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return tracing.Tracer(provider.get_tracer("test")), exporter


def test_a_request_is_a_server_span_in_the_callers_trace(
    exported: tuple[tracing.Tracer, InMemorySpanExporter],
) -> None:
    tracer, exporter = exported
    tracer.end(tracer.start("POST", "/v1/predict", PARENT), 200, rows=3, queue_seconds=0.01)
    (span,) = exporter.get_finished_spans()
    assert span.name == "POST /v1/predict"
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert span.attributes == {
        "http.request.method": "POST", "http.route": "/v1/predict", "http.response.status_code": 200,
        "bakeoff.rows": 3, "bakeoff.queue_seconds": 0.01,
    }  # fmt: skip
    assert span.status.is_unset


def test_a_fault_of_ours_is_an_error_and_a_damaged_parent_is_ignored(
    exported: tuple[tracing.Tracer, InMemorySpanExporter],
) -> None:
    tracer, exporter = exported
    tracer.end(tracer.start("POST", "/v1/predict", b"\xff nonsense"), 500)
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert span.parent is None


def test_nothing_is_traced_unless_somebody_set_it_up() -> None:
    assert tracing.tracer() is None
