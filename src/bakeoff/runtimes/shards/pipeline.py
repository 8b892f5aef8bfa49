"""Micro-batches through a chain of stages: bounded, in order, and none lost when a stage dies.

The chain is front → first stage → … → last stage → front. Answers come back in the order of sending, so a micro-batch that is
missing is known at once. When a connection breaks, the dead stages are started again, the chain is built anew and every
micro-batch without an answer is sent again from the start; one that was in flight through several deaths is given up, because it may be the cause.
When the stages cannot be started again, what waits gets an error, ``healthy`` says so, and it is tried again, more and more patiently.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from bakeoff.runtimes.shards import wire
from bakeoff.runtimes.shards.local import Placement
from bakeoff.runtimes.shards.wire import Address, Tensors, WireError
from bakeoff.schema.errors import BakeoffError, StepError

logger = logging.getLogger("bakeoff.shards")
_TRIES = 3
_BUILDS = 5
_PAUSE = 0.2
_LOOK_SECONDS = 0.5
_CHAIN_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0

Answer = dict[str, NDArray[Any]]


@dataclass(eq=False)
class _Sent:
    """A micro-batch without an answer."""

    tensors: Tensors
    parts: int = 1
    future: Future[Answer] = field(default_factory=Future)
    deaths: int = 0
    since: float = field(default_factory=time.monotonic)


class Pipeline:
    """Pushes micro-batches through the stages of a placement.

    Args:
        placement: runs the stages.
        stages: how many there are.
        window: micro-batches in flight at most; two a stage and two more when None. ``submit`` waits when there are as many.
        patience: seconds without an answer after which the stages count as hung and are started again.

    Attributes:
        repairs: times the chain was built, or tried to be built, after the first.

    Raises:
        StepError: the stages do not start.

    """

    def __init__(self, placement: Placement, stages: int, *, window: int | None = None, patience: float = 60.0) -> None:
        self._placement, self._patience = placement, patience
        self._room = threading.BoundedSemaphore(window or 2 * stages + 2)
        self._changed = threading.Condition()
        self._open: dict[int, _Sent] = {}
        self._outbox: deque[int] = deque()
        self._number = 0
        self._closed = self._ended = False
        self._broken: StepError | None = None
        self._pause = _FIRST_PAUSE
        self._out: socket.socket | None = None
        self._back: socket.socket | None = None
        self.repairs = 0
        self._build()
        self._threads = [
            threading.Thread(target=work, name=f"bakeoff-pipeline-{name}", daemon=True)
            for name, work in (("send", self._send), ("receive", self._receive))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def healthy(self) -> bool:
        """Whether the stages run, as far as is known; False while they cannot be started."""
        return self._broken is None

    def submit(self, tensors: Tensors, parts: int = 1) -> Future[Answer]:
        """Send one micro-batch on its way, or several that ``wire.packed`` made one; waits while the window is full.

        Returns:
            The tensors that the last stage sends; or a ``StepError``: 'error' when a stage cannot compute them, 'crash' when stages died over them.

        """
        self._room.acquire()
        sent = _Sent(tensors, parts)
        sent.future.add_done_callback(lambda _: self._room.release())
        with self._changed:
            if self._closed or self._broken:
                what = "the pipeline was closed"
                sent.future.set_exception(self._broken or StepError("error", what))
                return sent.future
            self._open[self._number] = sent
            self._outbox.append(self._number)
            self._number += 1
            self._changed.notify_all()
        return sent.future

    def _send(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._outbox and self._out is not None))
                if self._closed:
                    return
                number, link = self._outbox.popleft(), self._out
                sent = self._open.get(number)
            if sent is None or link is None:
                continue
            try:
                wire.send(link, {"seq": number, "parts": sent.parts}, sent.tensors)
            except WireError:
                with self._changed:
                    if self._out is link:  # the receiver notices too, and repairs
                        self._out = None
                        wire.close(link)
                        wire.close(self._back)

    def _receive(self) -> None:
        while not self._closed:
            link = self._back
            try:
                if link is None:
                    what = "there is no chain"
                    raise WireError(what)
                if self._waited(link):
                    self._finish(*wire.receive(link))
            except (WireError, OSError, ValueError):
                if not self._closed:
                    self._repair()

    def _waited(self, link: socket.socket) -> bool:
        """Return whether there is something to read; kill stages that have been silent for too long."""
        ready = wire.readable([link], _LOOK_SECONDS)
        if not ready:
            with self._changed:
                oldest = next(iter(self._open.values()), None)
            if oldest is not None and time.monotonic() - oldest.since > self._patience:
                logger.warning("no answer for %.0f s: the stages are started again", self._patience)
                self._placement.kill()
                what = "the stages hang"
                raise WireError(what)
        return bool(ready)

    def _finish(self, head: dict[str, Any], tensors: Answer) -> None:
        with self._changed:
            sent = self._open.pop(int(head["seq"]), None)
            for other in self._open.values():
                other.since = time.monotonic()
        if sent is None:
            return
        if "error" in head:
            what = f"the model cannot compute these rows: {head['error']}"
            sent.future.set_exception(StepError("error", what))
        else:
            sent.future.set_result(tensors)

    def _repair(self) -> None:
        """Build the chain again and send again what has no answer."""
        with self._changed:
            wire.close(self._out)  # the first stage is told, too: it may be alive
            self._out = None
            given_up = []
            for number, sent in list(self._open.items()):
                sent.deaths += number not in self._outbox  # what was not sent yet has no part in it
                if sent.deaths >= _TRIES:
                    given_up.append(self._open.pop(number))
        for sent in given_up:
            what = f"a stage died {_TRIES} times over these rows"
            sent.future.set_exception(StepError("crash", what))
        self.repairs += 1
        try:
            self._build()
        except BakeoffError as error:
            logger.warning("the stages cannot be started again: %s", error.what)
            self._give_up(StepError("crash", f"the stages cannot be started again: {error.what}"))
            with self._changed:
                self._changed.wait_for(lambda: self._closed, self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _build(self) -> None:
        """Start what does not run and connect front, stages and front; the way back is accepted from the last stage."""
        for attempt in range(_BUILDS):
            wire.close(self._out)
            wire.close(self._back)
            addresses = self._placement.addresses()
            try:
                out, back = self._chain(addresses)
            except (WireError, OSError) as error:
                logger.info("the chain of stages is not complete yet: %s", error)
                time.sleep(_PAUSE * 2**attempt)
                continue
            with self._changed:
                self._out, self._back = out, back
                self._broken, self._pause = None, _FIRST_PAUSE
                self._outbox = deque(sorted(self._open))
                for sent in self._open.values():
                    sent.since = time.monotonic()
                self._changed.notify_all()
            return
        what = "the stages cannot be connected"
        raise StepError("crash", what)

    def _chain(self, addresses: Sequence[Address]) -> tuple[socket.socket, socket.socket]:
        """Connect to the first stage and be called back by the last; return both ways, or leave neither open."""
        with contextlib.ExitStack() as opened:
            listener = opened.enter_context(contextlib.closing(wire.listen(self._placement.host)))
            here = (self._placement.host, listener.getsockname()[1])
            out = wire.connect(addresses[0], self._placement.secret)
            opened.callback(wire.close, out)
            wire.send(out, {"route": [*addresses[1:], here]}, {})
            if listener not in wire.readable(
                [listener, out], _CHAIN_SECONDS
            ):  # a stage that cannot go on closes the way to it
                what = "the last stage does not call back"
                raise WireError(what)
            back = wire.accept(listener, self._placement.secret)
            opened.callback(wire.close, back)
            wire.receive(back)  # the empty rest of the route: the chain is complete
            opened.pop_all()
        listener.close()
        return out, back

    def _give_up(self, error: StepError) -> None:
        """End all that waits with an error, and what comes from now on."""
        with self._changed:
            self._broken = error
            left, self._open = list(self._open.values()), {}
            self._outbox.clear()
            self._changed.notify_all()
        for sent in left:
            sent.future.set_exception(error)

    def close(self) -> None:
        """End the stages; what has no answer yet gets an error. A second call does nothing."""
        if self._ended:
            return
        self._ended = self._closed = True
        what = "the pipeline was closed"
        self._give_up(StepError("error", what))
        wire.close(self._out)
        wire.close(self._back)
        for thread in self._threads:
            thread.join(5.0)
        wire.close(self._out)  # again: the chain may just have been built anew
        wire.close(self._back)
        self._placement.close()
