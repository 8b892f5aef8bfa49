"""The application: routes, what may be asked, how answers read. It knows nothing of sockets and computes nothing itself."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import orjson

from bakeoff.serving import chat, docs, openapi, openinference
from bakeoff.serving.batching import Batcher, Job
from bakeoff.serving.engine import Engine
from bakeoff.serving.journal import Journal
from bakeoff.serving.limits import Limits
from bakeoff.serving.metrics import Metrics
from bakeoff.serving.model import Served
from bakeoff.serving.parsing import parse
from bakeoff.serving.problems import Header, Problem
from bakeoff.serving.request import JSON, Request
from bakeoff.serving.service import Service

Answer = tuple[int, bytes, bytes]
"""Status, body, content type."""
Guard = Callable[[Request, "Route"], None]
Check = Callable[[Request, bytes], None]

_HTML = b"text/html; charset=utf-8"
_LEFT = 499
"""What requests are counted as whose client did not wait for the answer, as proxies do; nobody is sent it."""
_PROBES = frozenset({b"/healthz", b"/readyz", b"/v2/health/live", b"/v2/health/ready"})
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_PATIENCE = (b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms")
"""Headers in which a client says how long it will wait; meshes built on Envoy send the second by themselves."""
logger = logging.getLogger("bakeoff.serving")


@dataclass(frozen=True, slots=True)
class Route:
    """A path and who answers it.

    Attributes:
        path: as it is counted in the metrics.
        method: ``GET`` (HEAD too) or ``POST``.
        answer: answers, now or later, or raises ``Problem``.
        computes: whether it costs the model's time: refused at once when too much is waiting.

    """

    path: str
    method: str
    answer: Callable[[Request], None]
    computes: bool = False


def _nothing(request: Request) -> None:
    """Answer nothing: there is no such route."""


_NOWHERE = Route("unknown", "GET", _nothing)


class App:
    """One model behind HTTP.

    Args:
        served: the loaded bundle.
        limits: what is accepted.
        engine: what computes; on one thread, unmeasured, when None.

    Attributes:
        guards: called with each request and its route before its body is read; whoever raises ``Problem`` refuses it.
        checks: header → what looks at it before the body of a POST is read; whoever raises ``Problem`` refuses the request.
        keyed: whether one of the guards asks for an API key.
        probes: paths that are answered even where there are too many connections: whoever asks would restart the server.
        tracer: starts and ends a span per request when there is one.
        journal: writes down every answered request when there is one; health checks are left out.

    """

    def __init__(self, served: Served, limits: Limits, engine: Engine | None = None) -> None:
        manifest = served.opened.manifest
        self.served, self.limits = served, limits
        self.engine = engine or Engine(Service(served, limits))
        self.service, self.classes = self.engine.service, manifest.classes
        self.reader = self.service.reader
        self.batcher: Batcher = self.engine.batcher(self._on_batch, self._on_fault)
        self.ready = False
        self.probes = _PROBES
        self.guards: list[Guard] = []
        self.checks: dict[bytes, Check] = dict(_CHECKS)
        self.keyed = False
        self.tracer: Any = None
        self.journal: Journal | None = None
        self.metrics = Metrics(served.name, manifest.candidate, served.opened.version, {
            "bakeoff_queue_rows": ("Rows that wait to be computed.", lambda: self.batcher.waiting),
            "bakeoff_queue_seconds": (
                "Seconds that a row which comes now is expected to wait before it is computed.", lambda: self.batcher.delay),
            "bakeoff_inflight_requests": ("Requests not answered yet.", lambda: self.batcher.inflight),
            "bakeoff_batch_size": ("Rows computed together at most, as measured at start-up and under load.", lambda: self.batcher.chosen),
            "bakeoff_worker_restarts": ("Compute processes replaced since the start.", lambda: self.engine.restarts),
            "bakeoff_ready": ("1 when the server takes new requests and can compute.", lambda: float(self.ready and self.engine.healthy)),
        })  # fmt: skip
        self._kinds = {column.name: column.kind for column in manifest.inputs}
        self._counts = [0] * len(self.classes)
        self.metrics.labels = lambda: dict(zip(self.classes, self._counts, strict=True))
        self.routes: dict[bytes, Route] = {}
        self._add_routes()

    # ---------------------------------------------------------------------------------------------------------- routes

    def get(self, path: str, answer: Callable[[], Answer]) -> None:
        """Add a page."""

        def respond(request: Request) -> None:
            status, body, content = answer()
            self.send(request, status, body, content)

        self.routes[path.encode()] = Route(path, "GET", respond)

    def post(self, path: str, answer: Callable[[Request], None], *, computes: bool = True) -> None:
        """Add a route that takes a JSON body; ``answer`` ends in ``send`` or raises ``Problem``."""
        self.routes[path.encode()] = Route(path, "POST", answer, computes)

    def _add_routes(self) -> None:
        opened, name = self.served.opened, self.served.name
        model, version = f"/v2/models/{name}", f"/v2/models/{name}/versions/{opened.version}"
        platform = f"bakeoff_{opened.manifest.runtime}"
        described = openinference.metadata(name, opened.version, platform, opened.manifest.inputs, len(self.classes))
        server = {"name": "bakeoff", "version": opened.manifest.bakeoff, "extensions": []}
        for path in ("/", "/docs"):
            self.routes[path.encode()] = Route(path, "GET", self._page)
        self.get("/healthz", lambda: (200, b'{"status":"alive"}', JSON))
        self.get("/readyz", self._readiness)
        self.get("/metrics", lambda: (200, *self.metrics.render()))
        self.get(
            "/openapi.json",
            lambda: (200, orjson.dumps(openapi.document(opened.manifest, name, self.limits, keyed=self.keyed)), JSON),
        )
        self.get("/v1/contract", lambda: (200, opened.contract.model_dump_json().encode(), JSON))
        self.get("/v1/status", lambda: (200, orjson.dumps(self.engine.status(self.batcher)), JSON))
        self.get("/v2", lambda: (200, orjson.dumps(server), JSON))
        self.get("/v2/health/live", lambda: (200, b'{"live":true}', JSON))
        self.get("/v2/health/ready", self._readiness)
        self.post("/v1/predict", self._predict)
        for base in (model, version):
            self.get(base, lambda: (200, orjson.dumps(described), JSON))
            self.get(f"{base}/ready", self._readiness)
            self.post(f"{base}/infer", self._infer)
        if self.reader.text_column:
            chat.Chat(self)

    def _page(self, request: Request) -> None:
        body = docs.page(self.served.opened.manifest, self.served.name, keyed=self.keyed, base=request.base)
        self.send(request, 200, body, _HTML, tuple(docs.HEADERS))

    def _readiness(self) -> Answer:
        if self.ready and self.engine.healthy:
            return 200, b'{"ready":true}', JSON
        return 503, b'{"ready":false}', JSON

    # ------------------------------------------------------------------------------------------------- life and requests

    def start(self) -> None:
        """Take requests; call it on the event loop."""
        self.batcher.start()
        self.ready = True

    def withdraw(self) -> None:
        """Tell the load balancer to look elsewhere; requests that still come are answered."""
        self.ready = False

    def stop(self) -> None:
        """Stop computing after what is queued."""
        self.ready = False
        self.batcher.stop()

    def admit(self, request: Request) -> None:
        """Find the route and refuse what can be refused before the body is read (``hub.Handler``)."""
        try:
            self._admit(request)
        except Problem:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours is no reason to call the request malformed, as the parser would
            self._on_fault(error)
            raise Problem(500, "the server failed") from None

    def _admit(self, request: Request) -> None:
        route = self.routes.get(request.target) or self.routes.get(request.path)
        request.route = route
        if self.tracer is not None:
            path = route.path if route else "unknown"
            request.span = self.tracer.start(request.method.decode("latin-1"), path, request.header(b"traceparent"))
        for guard in self.guards:  # first of all: what is not there is nobody's business either
            guard(request, route or _NOWHERE)
        if route is None:
            what = "there is nothing at this path"
            raise Problem(404, what, allowed=sorted({known.path for known in self.routes.values()}))
        if request.method != route.method.encode() and not (route.method == "GET" and request.method == b"HEAD"):
            what, allowed = "this path does not take this method", "POST" if route.method == "POST" else "GET, HEAD"
            raise Problem(405, what, allowed=allowed, headers=((b"allow", allowed.encode()),))
        if route.method == "POST":
            self._check(request)
        if route.computes and (refusal := self.batcher.refusal()) is not None:
            self.metrics.shed += 1
            raise refusal

    def _check(self, request: Request) -> None:
        checks = self.checks
        for name, value in request.headers:
            check = checks.get(name)
            if check is not None:
                check(request, value)

    def handle(self, request: Request) -> None:
        """Answer one complete request (``hub.Handler``)."""
        if request.problem is not None:  # not raised: its traceback would hold the request that holds it
            self.refuse(request, request.problem)
            return
        try:
            request.route.answer(request)
        except Problem as problem:
            self.refuse(request, problem)
        except Exception as error:  # noqa: BLE001 - a fault of ours is one answer, not the end of the server
            self._on_fault(error)
            self.send(request, 500, b'{"error":{"status":500,"what":"the server failed"}}')

    def forget(self, request: Request) -> None:
        """Compute nothing more for a client that went away (``hub.Handler``)."""
        if request.job is not None:
            self.batcher.withdraw(request.job, Problem(_LEFT, "the client went away"))
        elif request.span is not None:
            self.tracer.end(request.span, _LEFT)

    def refuse(self, request: Request, problem: Problem) -> None:
        """Answer with a problem."""
        if request.target.startswith(b"/v2"):
            body = problem.sentence()
        else:
            body = chat.refusal(problem) if request.target.startswith(b"/v1/chat") else problem.body()
        self.send(request, problem.status, body, JSON, problem.headers)

    def send(
        self, request: Request, status: int, body: bytes, content: bytes = JSON, headers: tuple[Header, ...] = ()
    ) -> None:
        """Send and count an answer."""
        route = request.route
        self.metrics.request(route.path if route is not None else "unknown", status)
        # refusals are fast: among the answers they would make overload look well
        if route is not None and route.computes and status < 300:
            self.metrics.latency.observe(perf_counter() - request.started)
        if request.span is not None:
            self.tracer.end(request.span, status, rows=request.rows, queue_seconds=request.waited)
        if self.journal is not None and request.path not in _PROBES:
            self.journal.note(request, status, body)
        request.respond(status, body, content, headers)

    # -------------------------------------------------------------------------------------------------------- prediction

    def _predict(self, request: Request) -> None:
        rows, single = self.reader.predict(parse(request.content()))
        self.compute(request, rows, partial(self._predicted, request, single))

    def _predicted(self, request: Request, single: bool, job: Job) -> None:  # noqa: FBT001 - bound by position above
        self.send(request, 200, orjson.dumps(self.service.worded(job.labels, job.probabilities, single=single)))

    def _infer(self, request: Request) -> None:
        rows, identifier, wanted = openinference.read(parse(request.content()), self.reader, self._kinds)
        self.compute(request, rows, partial(self._inferred, request, identifier, wanted))

    def _inferred(self, request: Request, identifier: str | None, wanted: frozenset[str], job: Job) -> None:
        named = [self.classes[index] for index in job.labels]
        opened = self.served.opened
        answer = openinference.write(
            self.served.name, opened.version, identifier, named, job.probabilities, self.classes, wanted
        )
        self.send(request, 200, orjson.dumps(answer, option=_OPTIONS))

    def compute(self, request: Request, rows: list[Any], answer: Callable[[Job], None]) -> None:
        """Queue rows; ``answer`` is called with the finished job, or the request is answered with what went wrong.

        Raises:
            Problem: 503 when too much is waiting.

        """
        request.rows = len(rows)
        due = perf_counter() + self.limits.request_seconds
        try:
            waits = min(request.due or due, due)
            request.job = self.batcher.submit(rows, waits, partial(self._computed, request, answer))
        except Problem:
            self.metrics.shed += 1
            raise

    def _computed(self, request: Request, answer: Callable[[Job], None], job: Job, problem: Problem | None) -> None:
        try:
            if problem is not None:
                raise problem
            request.waited = job.started - job.asked
            self.metrics.waits.observe(request.waited)
            counts = self._counts
            for index in job.labels:
                counts[index] += 1
            answer(job)
        except Problem as found:
            self.refuse(request, found)
        except Exception as error:  # noqa: BLE001 - as in ``handle``
            self._on_fault(error)
            self.send(request, 500, b'{"error":{"status":500,"what":"the server failed"}}')

    def _on_batch(self, rows: int, seconds: float) -> None:
        self.metrics.batches.observe(rows)
        self.metrics.compute += seconds

    def _on_fault(self, error: BaseException) -> None:
        """Log where the fault was, never its message: that may repeat a row."""
        self.metrics.faults += 1
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
        logger.error("fault: %s at %s", type(error).__name__, where)


def _json(_: Request, value: bytes) -> None:
    if value != JSON and value.split(b";", 1)[0].strip().lower() != JSON:
        what = "the body must be JSON"
        raise Problem(415, what, where="Content-Type", allowed="application/json")


def _plain(_: Request, value: bytes) -> None:
    if value.strip().lower() != b"identity":
        what = "compressed bodies are not taken"
        raise Problem(415, what, where="Content-Encoding", allowed="identity")


def _no_tensors(_: Request, __: bytes) -> None:
    what = "binary tensors are not supported"
    raise Problem(400, what, where="Inference-Header-Content-Length", allowed="JSON data")


def _patience(name: str, request: Request, value: bytes) -> None:
    """Note how long the client will wait."""
    if not value.isdigit() or len(value) > 9:
        raise Problem(400, "must be whole milliseconds", where=name, allowed="1 to 999999999")
    request.due = request.started + int(value) / 1000.0


_CHECKS: dict[bytes, Check] = {
    b"content-type": _json, b"content-encoding": _plain, b"inference-header-content-length": _no_tensors,
    **{name: partial(_patience, name.decode()) for name in _PATIENCE},
}  # fmt: skip
"""What keeps bodies that are not plain JSON away."""
