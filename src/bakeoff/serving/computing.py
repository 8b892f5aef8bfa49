"""One batch, computed with care: a failing batch is halved until the rows to blame are alone, and a broken model is told apart.

A batch that ended its process is tried once more, then row by row: every further death would cost another load of the model.
The seam to what computes is ``Predictor``: a loaded model in this process, or a worker process behind a socket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.tabular import Table
from bakeoff.schema.errors import BakeoffError

Row = Mapping[str, Any]
Answer = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Class indices (n,) and probabilities (n, k)."""


class Predictor(Protocol):
    """What computes: ``data.transforms.rule.Classifier``, or a process that holds one."""

    def predict(self, rows: Sequence[Row]) -> Answer:
        """Return class indices (n,) and probabilities (n, k)."""


class LostError(BakeoffError):
    """The process that computed is gone; the same rows may be tried once more elsewhere."""


class AbsentError(BakeoffError):
    """There is no process to compute: no model has seen the rows, others may be given them."""


@dataclass(slots=True)
class Outcome:
    """Labels and probabilities of a batch; ``bad`` holds the places of rows that could not be computed, and what was raised."""

    labels: list[int]
    probabilities: list[list[float]]
    bad: dict[int, Exception] = field(default_factory=dict)


class Compute:
    """Runs batches on one predictor, from one thread at a time.

    Args:
        predictor: computes labels and probabilities.
        classes: number of classes.
        canary: rows the model handles; they tell a bad row from a broken model.

    A row is to blame only if the model answers something after it: other rows of the batch or, where there are none, the canary.
    """

    def __init__(self, predictor: Predictor, classes: int, canary: Sequence[Row]) -> None:
        self.predictor, self._classes, self._canary = predictor, classes, canary
        self._doubted = False

    def run(self, rows: Sequence[Row]) -> Outcome:
        """Return the answers.

        Raises:
            AbsentError: there is nothing to compute with, and these rows were in no process that ended.
            Exception: whatever the model raised, when it fails on the canary too.

        """
        try:
            labels, probabilities = self._checked(rows)
        except AbsentError:
            raise
        except Exception as error:  # noqa: BLE001 - a model may raise anything; the rows to blame are found below
            self._doubted = True
            try:
                return self._search(rows, error)
            except AbsentError as absent:
                raise LostError(absent.what) from None
        return Outcome(labels.tolist(), probabilities.tolist())

    def answers(self) -> bool:
        """Say whether the model answers the canary."""
        try:
            self._checked(self._canary)
        except Exception:  # noqa: BLE001 - any failure of the canary means the model is broken
            return False
        return True

    def _search(self, rows: Sequence[Row], error: Exception) -> Outcome:
        if isinstance(rows, Table) and (beyond := rows.beyond()).any():
            return self._within(rows, beyond, error)
        bad: dict[int, Exception] = {}
        if isinstance(
            error, LostError
        ):  # whoever killed it may not have been these rows: once more before any is blamed
            labels, probabilities = self._bisect(rows, bad)
        else:
            if len(rows) > 1:  # a broken model, an endpoint that is down, is not asked for every half
                self._ask(error)
            labels, probabilities = self._split(rows, bad, error)
        if self._doubted:
            self._ask(error)
        return Outcome(labels.tolist(), probabilities.tolist(), bad)

    def _within(self, rows: Table, beyond: NDArray[np.bool_], error: Exception) -> Outcome:
        """Compute the rows whose numbers a model can be given; one look tells the others, halving would take a call for each."""
        bad = dict.fromkeys(np.flatnonzero(beyond).tolist(), error)
        labels, probabilities = np.zeros(len(rows), np.int64), np.zeros((len(rows), self._classes))
        places = np.flatnonzero(~beyond)
        if not len(places):
            self._ask(error)
        else:
            found = self.run(Table(rows.names, rows.values[places]))
            labels[places], probabilities[places] = found.labels, found.probabilities
            bad.update((int(places[at]), reason) for at, reason in found.bad.items())
        return Outcome(labels.tolist(), probabilities.tolist(), bad)

    def _bisect(self, rows: Sequence[Row], bad: dict[int, Exception]) -> Answer:
        try:
            return self._checked(rows)
        except AbsentError:
            raise
        except LostError as error:
            return self._singly(rows, bad) if len(rows) > 1 else self._split(rows, bad, error)
        except Exception as error:  # noqa: BLE001 - as above
            return self._split(rows, bad, error)

    def _singly(self, rows: Sequence[Row], bad: dict[int, Exception]) -> Answer:
        """Compute row by row: each half that died would cost another load of the model, each row alone costs little."""
        found: list[Answer] = []
        for at in range(len(rows)):
            alone: dict[int, Exception] = {}
            found.append(self._bisect(rows[at : at + 1], alone))
            bad.update((at + index, error) for index, error in alone.items())
        return np.concatenate([labels for labels, _ in found]), np.concatenate([shares for _, shares in found])

    def _split(self, rows: Sequence[Row], bad: dict[int, Exception], error: Exception) -> Answer:
        if len(rows) == 1:
            if self._doubted:
                self._ask(error)
            else:
                self._doubted = True  # until something is answered
            bad[0] = error
            return np.zeros(1, np.int64), np.zeros((1, self._classes))
        half = len(rows) // 2
        right: dict[int, Exception] = {}
        first, second = self._bisect(rows[:half], bad), self._bisect(rows[half:], right)
        bad.update((index + half, error) for index, error in right.items())
        return np.concatenate((first[0], second[0])), np.concatenate((first[1], second[1]))

    def _checked(self, rows: Sequence[Row]) -> Answer:
        labels, probabilities = self.predictor.predict(rows)
        if probabilities.shape != (len(rows), self._classes) or labels.shape != (len(rows),):
            message = "the model returned the wrong shape"
            raise ValueError(message)
        if not np.isfinite(probabilities).all():
            message = "the model returned a number that is not finite"
            raise ValueError(message)
        self._doubted = False
        return labels, probabilities

    def _ask(self, error: Exception) -> None:
        """Raise ``error`` again when the model fails on a row it is known to handle: then no other row is to blame."""
        if not self.answers():
            raise error


class Standing:
    """Which predictors failed altogether and have answered nothing since; threads may share one.

    A thread adds its own before it asks about others: of those that fail at the same time, the last one finds no other and goes on.
    """

    def __init__(self, computes: Sequence[Compute]) -> None:
        self._all = {id(compute.predictor) for compute in computes}
        self.failed: set[int] = set()

    @property
    def failing(self) -> bool:
        """Whether nothing computes."""
        return len(self.failed) == len(self._all)

    def note(self, compute: Compute, *, failed: bool) -> None:
        """Take in how a batch ended; a success matters only while some have ``failed``."""
        if failed:
            self.failed.add(id(compute.predictor))
        else:
            self.failed.discard(id(compute.predictor))

    def dispensable(self, compute: Compute) -> bool:
        """Say whether its predictor failed, and another one did not."""
        return id(compute.predictor) in self.failed and not self.failing
