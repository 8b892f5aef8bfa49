"""How often one client may ask: a token bucket each, so that nobody takes the service away from the others."""

from __future__ import annotations

import math
from collections import OrderedDict

from bakeoff.serving.problems import Problem

_CLIENTS = 10_000
"""Buckets kept; the client not heard of for longest is forgotten first, which gives it a full bucket: memory stays bounded."""


class Rates:
    """Token buckets by client.

    Args:
        rate: requests per second a client may make in the long run.
        burst: requests it may make at once after a pause.

    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, max(burst, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float) -> None:
        """Take one request from the client's bucket.

        Args:
            client: name of its key, or its address.
            now: a clock that does not go back [s].

        Raises:
            Problem: 429 with Retry-After when the bucket is empty.

        """
        tokens, since = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - since) * self.rate)
        allowed = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = math.ceil((1.0 - tokens) / self.rate)
            what = "this client asks too often"
            limit = f"{self.rate:g} requests a second, {self.burst:g} at once"
            raise Problem(429, what, allowed=limit, headers=((b"retry-after", b"%d" % wait),))
