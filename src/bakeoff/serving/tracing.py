"""OpenTelemetry: one server span per request, joined to the caller's trace. Costs nothing unless tracing was set up.

Whoever starts the server sets the tracing up: ``opentelemetry-instrument python -P -m bakeoff.serving BUNDLE`` with the usual
``OTEL_*`` variables (not from inside of a bundle: it puts the current folder on Python's path all the same), or
``opentelemetry.trace.set_tracer_provider`` before ``serve``. Attributes follow the HTTP semantic conventions; nothing of a row
is ever among them.
"""

from __future__ import annotations

import sys
from typing import Any

_NAME = "bakeoff.serving"


class Tracer:
    """Starts and ends the spans of requests.

    Args:
        tracer: of ``opentelemetry.trace``.

    """

    def __init__(self, tracer: Any) -> None:  # noqa: ANN401 - an optional library's class
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer, self._kind = tracer, SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)
        self._context = TraceContextTextMapPropagator().extract

    def start(self, method: str, route: str, traceparent: bytes | None) -> Any:  # noqa: ANN401 - a span
        """Return a running span; ``traceparent`` is the caller's W3C header, if it sent one."""
        context = self._context({"traceparent": traceparent.decode("latin-1")}) if traceparent else None
        attributes = {"http.request.method": method, "http.route": route}
        return self._tracer.start_span(f"{method} {route}", context, self._kind, attributes)

    def end(self, span: Any, status: int, **facts: float) -> None:  # noqa: ANN401 - a span
        """End a span.

        Args:
            span: from ``start``.
            status: HTTP status of the answer.
            facts: further numbers, such as ``rows`` and ``queue_seconds``; they become ``bakeoff.NAME``.

        """
        span.set_attribute("http.response.status_code", status)
        for name, value in facts.items():
            span.set_attribute(f"bakeoff.{name}", value)
        if status >= 500:
            span.set_status(self._failed)
        span.end()


def tracer() -> Tracer | None:
    """Return a tracer when somebody has set tracing up in this process, else None.

    Whoever did must have imported the library, so it is not imported here just to find out.
    """
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return Tracer(trace.get_tracer(_NAME))
