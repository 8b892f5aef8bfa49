"""Learning-rate schedules as plain numbers: any framework multiplies its base rate by what these return.

>>> [round(multiplier("linear", step, total=10, warmup=0.2), 2) for step in (0, 1, 2, 6, 9)]
[0.5, 1.0, 1.0, 0.5, 0.12]
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = 1e-4
_ONE_CYCLE_RISE = 0.3


def multiplier(schedule: str, step: int, *, total: int, warmup: float) -> float:
    """Return what the base learning rate is multiplied by in ``step`` (from 0) of ``total``.

    Args:
        schedule: ``constant``, ``linear`` (to 0), ``cosine`` (half a period, to 0), ``one_cycle`` (Smith 2018: up from
            1/25, down to 1/10,000) or ``reduce_on_plateau`` (constant here; ``Plateau`` does the reducing).
        step: number of updates already made.
        total: number of updates planned.
        warmup: share of them that rises linearly; for ``one_cycle`` the share of the rise (0: 0.3).

    Raises:
        ValueError: there is no such schedule.

    """
    if schedule == "one_cycle":
        return _one_cycle(step, total, warmup or _ONE_CYCLE_RISE)
    rising = round(warmup * total)
    if step < rising:
        return (step + 1) / rising
    progress = (step - rising) / max(1, total - rising)
    if schedule in {"constant", "reduce_on_plateau"}:
        return 1.0
    if schedule == "linear":
        return max(0.0, 1.0 - progress)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    message = f"no schedule called {schedule!r}"
    raise ValueError(message)


def _one_cycle(step: int, total: int, rise: float) -> float:
    top = max(1.0, rise * total)
    if step < top:
        return _between(_ONE_CYCLE_START, 1.0, step / top)
    return _between(1.0, _ONE_CYCLE_END, min(1.0, (step - top) / max(1.0, total - 1 - top)))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


@dataclass
class Plateau:
    """ReduceLROnPlateau: multiply the rate by ``factor`` after ``patience`` evaluations without improvement.

    Args:
        factor: what the rate is multiplied by each time.
        patience: evaluations without improvement that are tolerated.
        threshold: relative improvement of the loss that counts.

    """

    factor: float = 0.5
    patience: int = 1
    threshold: float = 1e-3
    multiplier: float = 1.0
    _best: float = field(default=math.inf, repr=False)
    _bad: int = field(default=0, repr=False)

    def see(self, loss: float) -> float:
        """Take note of an evaluation's loss and return the multiplier from now on."""
        if loss < self._best * (1 - self.threshold):
            self._best, self._bad = loss, 0
        else:
            self._bad += 1
            if self._bad >= self.patience:
                self.multiplier, self._bad = self.multiplier * self.factor, 0
        return self.multiplier


@dataclass
class Patience:
    """Early stopping: remembers the best loss and says when ``limit`` evaluations in a row brought none better."""

    limit: int | None
    best: float = math.inf
    bad: int = 0

    def see(self, loss: float) -> bool:
        """Take note of a loss and return whether it is the best so far."""
        better = loss < self.best
        self.best, self.bad = (loss, 0) if better else (self.best, self.bad + 1)
        return better

    @property
    def exhausted(self) -> bool:
        """Whether training should stop."""
        return self.limit is not None and self.bad >= self.limit
