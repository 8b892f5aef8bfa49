"""What Prometheus scrapes. Plain integers on the hot path, turned into metric families only when asked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Histogram:
    """Counts per bucket and a sum; touched by the event loop only, so it needs no lock."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return cumulative counts as Prometheus wants them, the last bound ``+Inf``."""
        total, found = 0, []
        for bound, count in zip((*(repr(bound) for bound in self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Metrics:
    """A collector for ``prometheus_client``.

    Args:
        model: name of the model, a label of ``bakeoff_model_info``.
        candidate: id of the candidate.
        bundle: identity of the bundle.
        gauges: name → (help, function that returns the value now).

    """

    def __init__(
        self, model: str, candidate: str, bundle: str, gauges: dict[str, tuple[str, Callable[[], float]]]
    ) -> None:
        self._info = {"model": model, "candidate": candidate, "bundle": bundle}
        self._gauges = gauges
        self.requests: dict[tuple[str, int], int] = {}
        self.latency = Histogram(_SECONDS)
        self.waits = Histogram(_SECONDS)
        self.batches = Histogram(_ROWS)
        self.labels: Callable[[], dict[str, int]] = dict
        self.faults = self.shed = 0
        self.compute = 0.0

    def request(self, route: str, status: int) -> None:
        """Count one answered request."""
        key = (route, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families (the contract of a Prometheus collector)."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        yield InfoMetricFamily("bakeoff_model", "What is served.", value=self._info)
        requests = CounterMetricFamily("bakeoff_requests", "Requests answered.", labels=["route", "status"])
        for (route, status), count in sorted(self.requests.items()):
            requests.add_metric([route, str(status)], count)
        yield requests
        yield HistogramMetricFamily(
            "bakeoff_request_seconds", "Seconds from the parsed request line to the answer, predictions that were made (status 2xx).",
            buckets=self.latency.buckets(), sum_value=self.latency.sum,
        )  # fmt: skip
        yield HistogramMetricFamily(
            "bakeoff_wait_seconds", "Seconds that requests waited before they were computed.",
            buckets=self.waits.buckets(), sum_value=self.waits.sum,
        )  # fmt: skip
        yield HistogramMetricFamily(
            "bakeoff_batch_rows", "Rows computed together.", buckets=self.batches.buckets(), sum_value=self.batches.sum
        )
        predicted = CounterMetricFamily("bakeoff_predictions", "Rows by the label they were given.", labels=["label"])
        for label, count in sorted(self.labels().items()):
            predicted.add_metric([label], count)
        yield predicted
        yield CounterMetricFamily("bakeoff_compute_seconds", "Seconds spent computing batches.", value=self.compute)
        yield CounterMetricFamily(
            "bakeoff_shed_requests", "Requests refused because too much was waiting.", value=self.shed
        )
        yield CounterMetricFamily(
            "bakeoff_model_faults", "Batches on which the model failed altogether.", value=self.faults
        )
        for name, (text, value) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=value())

    def render(self) -> tuple[bytes, bytes]:
        """Return the exposition text and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        collector: Any = self
        registry.register(collector)
        return generate_latest(registry), CONTENT_TYPE_LATEST.encode()
