"""The ASGI application: routes, bodies, answers. Raw ASGI, because per request nothing else may be paid for."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

import orjson

from bakeoff.serving import docs, openapi, openinference
from bakeoff.serving.batching import Batcher
from bakeoff.serving.limits import Limits
from bakeoff.serving.metrics import Metrics
from bakeoff.serving.model import Served
from bakeoff.serving.parsing import Reader, parse
from bakeoff.serving.problems import Header, Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes, bytes]
"""Status, body, content type."""

_JSON = b"application/json"
_HTML = b"text/html; charset=utf-8"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_DISCARDED = 64 << 20
logger = logging.getLogger("bakeoff.serving")


class App:
    """One model behind HTTP.

    Args:
        served: the loaded bundle.
        limits: what is accepted.

    """

    def __init__(self, served: Served, limits: Limits) -> None:
        manifest = served.opened.manifest
        self.served, self.limits = served, limits
        self.reader = Reader(manifest.inputs, limits)
        self.classes = manifest.classes
        self.batcher = Batcher(
            served.classifier, len(self.classes), size=limits.batch, queue=limits.queue, canary=served.canary,
            on_batch=self._on_batch, on_fault=self._on_fault,
        )  # fmt: skip
        self.ready = False
        self.ready_until: float | None = None
        self.metrics = Metrics(served.name, manifest.candidate, served.opened.version, {
            "bakeoff_queue_rows": ("Rows that wait to be computed.", lambda: self.batcher.waiting),
            "bakeoff_inflight_requests": ("Requests not answered yet.", lambda: self.batcher.inflight),
            "bakeoff_ready": ("1 when the server takes new requests.", lambda: float(self.ready)),
        })  # fmt: skip
        self._kinds = {column.name: column.kind for column in manifest.inputs}
        self._gets, self._posts = self._routes()

    def _routes(self) -> tuple[dict[str, Callable[[], Answer]], dict[str, Callable[[bytes], Awaitable[Answer]]]]:
        opened, name = self.served.opened, self.served.name
        model, version = f"/v2/models/{name}", f"/v2/models/{name}/versions/{opened.version}"
        platform = f"bakeoff_{opened.manifest.runtime}"
        described = openinference.metadata(name, opened.version, platform, opened.manifest.inputs, len(self.classes))
        server = {"name": "bakeoff", "version": opened.manifest.bakeoff, "extensions": []}
        gets: dict[str, Callable[[], Answer]] = {
            "/": lambda: (200, docs.page(opened.manifest, name), _HTML),
            "/docs": lambda: (200, docs.page(opened.manifest, name), _HTML),
            "/healthz": lambda: (200, b'{"status":"alive"}', _JSON),
            "/readyz": self._readiness,
            "/metrics": lambda: (200, *self.metrics.render()),
            "/openapi.json": lambda: (200, orjson.dumps(openapi.document(opened.manifest, name, self.limits)), _JSON),
            "/v1/contract": lambda: (200, opened.contract.model_dump_json().encode(), _JSON),
            "/v2": lambda: (200, orjson.dumps(server), _JSON),
            "/v2/health/live": lambda: (200, b'{"live":true}', _JSON),
            "/v2/health/ready": self._readiness,
        }
        posts: dict[str, Callable[[bytes], Awaitable[Answer]]] = {"/v1/predict": self._predict}
        for base in (model, version):
            gets[base] = lambda: (200, orjson.dumps(described), _JSON)
            gets[f"{base}/ready"] = self._readiness
            posts[f"{base}/infer"] = self._infer
        return gets, posts

    def withdraw(self) -> None:
        """Tell the load balancer to look elsewhere; requests that still come are answered."""
        self.ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the ASGI entry point."""
        if scope["type"] != "http":
            await self._not_http(scope, receive, send)
            return
        started, path = perf_counter(), scope["path"]
        handler = self._posts.get(path)
        headers: tuple[Header, ...] = ()
        try:
            if handler is not None and scope["method"] == "POST":
                status, body, content = await handler(await self._body(scope, receive))
            else:
                status, body, content = self._get(scope["method"], path)
        except Problem as problem:
            v2 = path.startswith("/v2")
            status, body, content = problem.status, problem.sentence() if v2 else problem.body(), _JSON
            headers = problem.headers
        except Exception as error:  # noqa: BLE001 - a fault of ours is one answer, not the end of the server
            self._on_fault(error)
            status, body, content = 500, b'{"error":{"status":500,"what":"the server failed"}}', _JSON
        known = handler is not None or path in self._gets
        self.metrics.request(path if known else "unknown", status)
        if handler is not None:
            self.metrics.latency.observe(perf_counter() - started)
        await _respond(send, status, body, content, headers)

    def _get(self, method: str, path: str) -> Answer:
        route = self._gets.get(path)
        allowed = "GET, HEAD" if route else "POST"
        if route is None and path not in self._posts:
            what = "there is nothing at this path"
            raise Problem(404, what, allowed=sorted([*self._gets, *self._posts]))
        if route is None or method not in {"GET", "HEAD"}:
            what = "this path does not take this method"
            raise Problem(405, what, allowed=allowed, headers=((b"allow", allowed.encode()),))
        return route()

    def _readiness(self) -> Answer:
        if self.ready:
            return 200, b'{"ready":true}', _JSON
        return 503, b'{"ready":false}', _JSON

    async def _predict(self, body: bytes) -> Answer:
        rows, single = self.reader.predict(parse(body))
        labels, probabilities = await self._compute(rows)
        names = self.classes
        predictions = [
            {"label": names[index], "probabilities": dict(zip(names, values, strict=True))}
            for index, values in zip(labels.tolist(), probabilities.tolist(), strict=True)
        ]
        candidate = self.served.opened.manifest.candidate
        answer = {"model": candidate, **predictions[0]} if single else {"model": candidate, "predictions": predictions}
        return 200, orjson.dumps(answer), _JSON

    async def _infer(self, body: bytes) -> Answer:
        rows, identifier, wanted = openinference.read(parse(body), self.reader, self._kinds)
        labels, probabilities = await self._compute(rows)
        named = [self.classes[index] for index in labels.tolist()]
        opened = self.served.opened
        answer = openinference.write(
            self.served.name, opened.version, identifier, named, probabilities, self.classes, wanted
        )
        return 200, orjson.dumps(answer, option=_OPTIONS), _JSON

    async def _compute(self, rows: list[dict[str, Any]]) -> tuple[Any, Any]:
        due = asyncio.get_running_loop().time() + self.limits.request_seconds
        labels, probabilities = await self.batcher.submit(rows, due)
        counts = self.metrics.labels
        for index in labels.tolist():
            name = self.classes[index]
            counts[name] = counts.get(name, 0) + 1
        return labels, probabilities

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        length, expects = self._announced(scope)
        if length > self.limits.body:
            await self._refuse_body(receive, drain=not expects)
        message = await _within(receive, self.limits.body_seconds)
        body = message.get("body", b"")
        if message.get("more_body"):
            body = await self._rest(body, receive)
        if message["type"] == "http.disconnect":
            what = "the client went away"
            raise Problem(400, what)
        if len(body) > self.limits.body:
            await self._refuse_body(receive, drain=False)
        return bytes(body)

    def _announced(self, scope: Scope) -> tuple[int, bool]:
        """Return the announced length of the body and whether the client waits for permission to send it."""
        length, expects = 0, False
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = int(value) if value.isdigit() else 0
            elif name == b"content-type" and value.split(b";", 1)[0].strip().lower() != _JSON:
                what = "the body must be JSON"
                raise Problem(415, what, where="Content-Type", allowed="application/json")
            elif name == b"content-encoding" and value.strip().lower() != b"identity":
                what = "compressed bodies are not taken"
                raise Problem(415, what, where="Content-Encoding", allowed="identity")
            elif name == b"inference-header-content-length":
                what = "binary tensors are not supported"
                raise Problem(400, what, where="Inference-Header-Content-Length", allowed="JSON data")
            elif name == b"expect":
                expects = True
        return length, expects

    async def _rest(self, first: bytes, receive: Receive) -> bytes:
        parts, size = [first], len(first)
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        what = "the client went away"
                        raise Problem(400, what)
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.limits.body:
                        await self._refuse_body(receive, drain=True)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise _slow() from None

    async def _refuse_body(self, receive: Receive, *, drain: bool) -> None:
        """Answer 413; read what still comes for a moment first, so that the client sees an answer and not a reset."""
        dropped = 0
        try:
            async with asyncio.timeout(2.0):
                while drain and dropped < _DISCARDED:
                    message = await receive()
                    dropped += len(message.get("body", b""))
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            pass
        what = "the body is too large"
        raise Problem(413, what, allowed=f"at most {self.limits.body} bytes", headers=((b"connection", b"close"),))

    async def _not_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await send({"type": "websocket.close", "code": 1000})
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.batcher.start()
                self.ready = True
                await send({"type": "lifespan.startup.complete"})
            else:
                self.ready = False
                self.batcher.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _on_batch(self, rows: int) -> None:
        self.metrics.batches.observe(rows)

    def _on_fault(self, error: BaseException) -> None:
        """Log where the fault was, never its message: that may repeat a row."""
        self.metrics.faults += 1
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
        logger.error("fault: %s at %s", type(error).__name__, where)


async def _within(receive: Receive, seconds: float) -> MutableMapping[str, Any]:
    try:
        async with asyncio.timeout(seconds):
            return await receive()
    except TimeoutError:
        raise _slow() from None


def _slow() -> Problem:
    what = "the body did not arrive in time"
    return Problem(408, what, headers=((b"connection", b"close"),))


async def _respond(send: Send, status: int, body: bytes, content: bytes, headers: tuple[Header, ...]) -> None:
    fields = [(b"content-type", content), (b"content-length", b"%d" % len(body)), *headers]
    if content is _HTML:
        fields += docs.HEADERS
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
