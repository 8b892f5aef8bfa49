"""How long a row takes and how long one would wait: what the server knows of its own speed, and refuses by.

A sum of means is right for the mean request, and a promise is broken by the slow ones. So the server also compares what it expected
with what it took, and expects as many times more of the next ones as the slowest hundredth needed (``margin``). Every request queued
behind a standstill is late: one narrows the queue until the window has passed.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

_KEPT = 0.9
"""What a batch's weight is multiplied by with every later one: ten batches' memory follows a machine that slows down."""
_SURPRISE = 4.0
"""A batch counts as this many times what was expected at most, unless as many before it as are computed at the same time took as long: a machine
that stood still once, whatever it was computing, is not slow; one that is shows it again."""
_WINDOW = 256
"""Batches that the margin is told from."""
_LATER = 2
"""The margin is the window's second largest: of unrelated batches fewer than one in a hundred is later."""
_EVERY = 8
"""Batches after which it is told again."""
_WIDEST = 2.0
"""Largest margin: on a machine that is still slower than that at times, half a queue is not the answer."""
_FED = 3.0
"""Batches' time within which an answer is always accepted, if the limit holds it: a margin must not starve the compute threads."""
_SPENT = 0.5
"""Share of a request's time that must have passed before it may be given up as hopeless: a wrong estimate must not refuse for ever."""


class Pressure:
    """Seconds per row, learned from every batch: the recent batches' seconds over their rows.

    Args:
        servers: batches computed at the same time at most.
        longest: seconds to an answer, expected with the margin, above which further requests are refused.
        row: seconds per row measured at start-up; 0 when nothing is known.
        rows: rows of the batches that was measured on, its weight.

    Attributes:
        batch: seconds of the recent batches.
        margin: how many times what was expected the slowest hundredth of the last batches took, from 1 to 2.

    """

    def __init__(self, servers: int, longest: float, row: float = 0.0, rows: int = 0) -> None:
        self.servers, self.longest = max(1, servers), longest
        self._rows = float(rows) if row else 0.0
        self._seconds = row * self._rows
        self.batch = self._seconds
        self.margin = 1.0
        self._ratios: deque[float] = deque(maxlen=_WINDOW)
        self._compared = 0
        self._surprises: deque[float] = deque(maxlen=self.servers)

    @property
    def row(self) -> float:
        """Seconds per row."""
        return self._seconds / self._rows if self._rows else 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Take in a finished batch."""
        if self._rows:
            seconds = self._believed(seconds, _SURPRISE * max(rows * self.row, self.batch))
        self._rows = _KEPT * self._rows + rows
        self._seconds = _KEPT * self._seconds + seconds
        self.batch = _KEPT * self.batch + (1.0 - _KEPT) * seconds if self.batch else seconds

    def _believed(self, seconds: float, most: float) -> float:
        if seconds <= most:
            self._surprises.clear()
            return seconds
        known = min(self._surprises) if len(self._surprises) == self.servers else 0.0
        self._surprises.append(seconds)
        return min(seconds, max(most, known))

    def delay(self, ahead: int) -> float:
        """Return the seconds until ``ahead`` rows are computed."""
        return ahead * self._seconds / (self._rows * self.servers) if self._rows else 0.0

    def answer(self, ahead: int, own: int) -> float:
        """Return the seconds until a request behind ``ahead`` rows is answered with a batch of ``own`` rows: those are shared, this is not."""
        return self.delay(ahead) + own * self.row

    def bearable(self, expected: float) -> bool:
        """Say whether a request whose answer is expected in so many seconds would get it within the limit."""
        return expected * self.margin <= self.longest or expected <= min(self.longest, _FED * self.batch)

    def compare(self, expected: float, took: float) -> None:
        """Take in how long a request took that was expected to take ``expected`` seconds; one far from the limit kept it anyhow."""
        near = _WIDEST * self.margin * expected > self.longest or took > self.longest
        self._ratios.append(took / expected if near else 1.0)
        self._compared += 1
        if self._compared % _EVERY == 0:
            self.margin = min(_WIDEST, max(1.0, heapq.nlargest(_LATER, self._ratios)[-1]))

    def retry_after(self, ahead: int) -> int:
        """Return whole seconds after which it is worth asking again."""
        return max(1, math.ceil(self.delay(ahead)))

    def hopeless(self, asked: float, due: float, now: float) -> bool:
        """Say whether a request asked at ``asked`` cannot be answered by ``due`` any more if its batch begins now."""
        return now > due or (now + self.batch > due and now - asked > _SPENT * (due - asked))
