"""Chooses the cuts: the slowest stage as fast as it can be, every stage within its memory, least sent over the cuts. Exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from bakeoff.schema.errors import StepError

Seconds = Callable[[int, int], float]
Bytes = Callable[[int, int], int]


@dataclass(frozen=True)
class Chosen:
    """Which of the places are cut, the slowest stage's seconds a row, and the bytes a row that cross all cuts."""

    cuts: tuple[int, ...]
    slowest: float
    sent: float


def choose(
    places: int, stages: int, seconds: Seconds, memory: Bytes, sent: Callable[[int], float], limit: int | None = None
) -> Chosen:
    """Return the best cuts among ``places`` candidates, numbered 1 to ``places``; 0 is the start and ``places + 1`` the end.

    Args:
        places: number of candidates.
        stages: number of stages.
        seconds: time a row between two places.
        memory: bytes of weights between two places.
        sent: bytes a row that cross a place.
        limit: bytes of weights that one stage may hold.

    Raises:
        StepError: no way of cutting keeps every stage within the limit ('unsupported').

    """
    end = places + 1

    @cache
    def best(start: int, left: int) -> Chosen | None:
        if left == 1:
            fits = limit is None or memory(start, end) <= limit
            return Chosen((), seconds(start, end), 0.0) if fits else None
        found: Chosen | None = None
        for place in range(start + 1, end - left + 2):
            if limit is not None and memory(start, place) > limit:
                break  # a longer first stage holds no less
            rest = best(place, left - 1)
            if rest is None:
                continue
            here = Chosen((place, *rest.cuts), max(seconds(start, place), rest.slowest), sent(place) + rest.sent)
            if found is None or (here.slowest, here.sent) < (found.slowest, found.sent):
                found = here
        return found

    chosen = best(0, stages)
    if chosen is None:
        what = f"no way of cutting it in {stages} keeps every stage within {limit} bytes of weights"
        need = max(memory(place - 1, place) for place in range(1, end + 1))
        got = f"one part that cannot be cut holds {need} bytes"
        raise StepError("unsupported", what, got=got, try_="more shards, or a higher limit")
    return chosen
