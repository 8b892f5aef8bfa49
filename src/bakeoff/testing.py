"""Fakes of every seam, public: for our tests, for yours, and for trying a plugin without a real model.

Set ``BAKEOFF_PLUGINS=bakeoff.testing:PLUGINS`` and the family ``fake``, the runtime ``fake``, the pass ``fake_pass`` and the check
``fake_check`` exist, in worker processes too. What the family does is in its parameters:

- ``behave``: ``well`` (default), or what goes wrong: ``crash`` (native abort), ``segfault``, ``hang``, ``eat`` (memory), ``nan``,
  ``shape``, ``raise``, ``refuse`` (a StepError), ``exit``, ``full`` (no space left), ``chatty`` (prints and fails),
  ``connect`` (to the network);
- ``where``: ``build`` (default), ``export``, ``load``, ``predict`` (batches) or ``request`` (single rows);
- ``delay``: seconds of CPU time each row takes; ``sleep``: seconds each request sleeps;
- ``drift``: added to probabilities by the export; ``flip``: share of labels the pass changes;
- ``build_seconds``, ``build_bytes``: how long building takes, and how much memory.

Does: behave and misbehave on demand. Does not: learn anything worth knowing.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate, CostPrior, Variant
from bakeoff.schema.errors import StepError
from bakeoff.schema.measurement import Finding
from bakeoff.schema.plugin import CheckTraits, FamilyTraits, PassTraits, RuntimeTraits

if TYPE_CHECKING:
    from pathlib import Path

    from bakeoff.compression.base import CompressContext
    from bakeoff.models.base import BuildContext, ExportContext, Row
    from bakeoff.risk.base import RiskContext
    from bakeoff.schema.profile import Profile
    from bakeoff.schema.spec import Spec

_BOTH = ("text-classification", "tabular-classification")
_FILE = "fake.json"


def misbehave(behaviour: str) -> None:
    """Do what goes wrong; return for behaviour that is none of that."""
    if behaviour in _MISBEHAVIOUR:
        _MISBEHAVIOUR[behaviour]()


def _crash() -> None:
    sys.stderr.write("about to abort\n")
    sys.stderr.flush()
    os.abort()


def _segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def _hang() -> None:
    while True:
        time.sleep(60)


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(np.ones(4_000_000))  # 32 MB at a time, touched
        time.sleep(0.005)


def _exit() -> None:
    raise SystemExit(3)


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _raise() -> None:
    message = "the fake was told to fail"
    raise ValueError(message)


def _refuse() -> None:
    what = "the fake refuses"
    raise StepError("unsupported", what)


def _chatty() -> None:
    sys.stdout.write("x" * 100_000 + "\nlast words\n")
    sys.stdout.flush()
    os.abort()


def _connect() -> None:
    import socket

    socket.create_connection(("192.0.2.1", 80), timeout=1)


_MISBEHAVIOUR: Mapping[str, Callable[[], None]] = {
    "crash": _crash, "segfault": _segfault, "hang": _hang, "eat": _eat, "exit": _exit, "full": _full, "raise": _raise,
    "refuse": _refuse, "chatty": _chatty, "connect": _connect,
}  # fmt: skip


class FakeFamily:
    """A model family that looks at the length of the first input column and at nothing else."""

    traits = FamilyTraits(
        label=Words(zh="假模型", en="fake"),
        tasks=_BOTH,
        formats=("fake",),
        exports=("fake-exported",),
        compressible=("fake_pass",),
        excuses={"space": "what it does is asked for, not tuned"},
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return one well-behaved variant."""
        del spec, profile
        return (variant(),)

    def build(self, context: BuildContext) -> Artifact:
        """Write down the parameters and the class shares."""
        params = dict(context.params)
        time.sleep(float(params.get("build_seconds", 0.0)))
        np.ones(int(params.get("build_bytes", 0)), dtype=np.uint8)  # touched, then given back
        if params.get("where", "build") == "build":
            misbehave(str(params.get("behave", "well")))
        counts = np.bincount(context.train.labels, minlength=len(context.classes)) + 1.0
        (context.out / _FILE).write_text(
            json.dumps({"prior": (counts / counts.sum()).tolist(), "seed": context.seed}), encoding="utf-8"
        )
        if params.get("leave"):
            (context.out / str(params["leave"])).write_bytes(b"\x80\x04N.")
        return Artifact(format="fake", task=context.task, classes=context.classes, inputs=context.inputs, meta=params)

    def export(self, context: ExportContext) -> Artifact:
        """Copy, with the drift asked for."""
        if context.artifact.meta.get("where") == "export":
            misbehave(str(context.artifact.meta["behave"]))
        _copy(context.source, context.out)
        return context.artifact.model_copy(update={"format": context.target, "files": ()})


class FakePass:
    """A compression pass that changes as many labels as it was told."""

    traits = PassTraits(label=Words(zh="假压缩", en="fake pass"), consumes=("fake-exported",), produces="fake-small")

    def apply(self, context: CompressContext) -> Artifact:
        """Copy."""
        _copy(context.source, context.out)
        return context.artifact.model_copy(update={"format": "fake-small", "files": ()})


class FakePredictor:
    """Probabilities from the length of the first column, plus whatever was asked to go wrong."""

    def __init__(self, artifact: Artifact, directory: Path) -> None:
        self._meta, self._format = artifact.meta, artifact.format
        self._column = artifact.inputs[0].name
        self._prior = np.asarray(json.loads((directory / _FILE).read_text(encoding="utf-8"))["prior"])
        self._classes = len(artifact.classes)

    def predict_proba(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return (n, k) probabilities."""
        behave, where = str(self._meta.get("behave", "well")), self._meta.get("where")
        if where == ("request" if len(rows) == 1 else "predict"):
            misbehave(behave)
        self._take_time(len(rows))
        sizes = np.array([len(str(row.get(self._column) or "")) for row in rows], dtype=np.float64)
        table = np.tile(self._prior, (len(rows), 1))
        table[np.arange(len(rows)), sizes.astype(np.int64) % self._classes] += 0.5
        table = self._altered(table / table.sum(axis=1, keepdims=True))
        if where == ("request" if len(rows) == 1 else "predict"):
            table = _spoilt(table, behave)
        return table

    def close(self) -> None:
        """Nothing is held."""

    def _take_time(self, rows: int) -> None:
        end = time.thread_time() + float(self._meta.get("delay", 0.0)) * rows
        while time.thread_time() < end:
            pass
        if self._meta.get("sleep"):
            time.sleep(float(self._meta["sleep"]))

    def _altered(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._format == "fake-exported" and self._meta.get("drift"):
            table = table + float(self._meta["drift"]) * np.linspace(-1, 1, self._classes)
        if self._format == "fake-small" and self._meta.get("flip"):
            flipped = np.arange(len(table)) < float(self._meta["flip"]) * len(table)
            table[flipped] = table[flipped][:, ::-1]
        return table


class FakeRuntime:
    """Loads what the fake family makes."""

    traits = RuntimeTraits(label=Words(zh="假运行时", en="fake"), loads=("fake", "fake-small"))

    def load(self, artifact: Artifact, directory: Path, threads: int) -> FakePredictor:
        """Return the predictor."""
        del threads
        if artifact.meta.get("where") == "load":
            misbehave(str(artifact.meta["behave"]))
        return FakePredictor(artifact, directory)


class OtherFakeRuntime(FakeRuntime):
    """Loads only the exported format, so that an export is needed."""

    traits = RuntimeTraits(label=Words(zh="另一个假运行时", en="other fake"), loads=("fake-exported", "fake-small"))


class FakeCheck:
    """A risk check that says what it was given, or fails as the candidate's ``check`` parameter asks."""

    traits = CheckTraits(label=Words(zh="假检查", en="fake check"), tasks=_BOTH)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Return one finding."""
        misbehave(str(context.candidate.variant.params.get("check", "well")))
        n, seeds = len(context.held_out), list(context.seed_scores)
        seen = Words(zh=f"{n} 行，种子得分 {seeds}", en=f"{n} rows, seed scores {seeds}")
        none = Words(zh="无", en="none")
        return (
            Finding(
                check="fake_check", title=self.traits.label, status="ok", observed=seen, mitigation=none, residual=none
            ),
        )


class FakeDataCheck:
    """A check of the data alone: the same finding for every candidate."""

    traits = CheckTraits(label=Words(zh="假数据检查", en="fake data check"), tasks=_BOTH, scope="data")

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Return one finding."""
        seen = Words(zh=f"{len(context.train)} 行", en=f"{len(context.train)} rows")
        none = Words(zh="无", en="none")
        return (
            Finding(
                check="fake_data_check",
                title=self.traits.label,
                status="ok",
                observed=seen,
                mitigation=none,
                residual=none,
            ),
        )


class ScriptedClock:
    """A clock that moves only when told: stands in for the ``time`` module where a test must not depend on the machine.

    Args:
        start: first reading, seconds.

    """

    def __init__(self, start: float = 100.0) -> None:
        self.now = start
        self.slept: list[float] = []

    def perf_counter(self) -> float:
        """Return the reading; looking takes a microsecond, so that loops that wait for a moment end."""
        self.now += 1e-6
        return self.now

    monotonic = process_time = thread_time = perf_counter

    def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.slept.append(seconds)
        self.now += seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def variant(name: str = "well", *, trains: bool = True, cost: CostPrior | None = None, **params: Any) -> Variant:  # noqa: ANN401
    """Return a variant of the fake family."""
    return Variant(name=name, label=Words(zh=name, en=name), params=params, trains=trains, cost=cost or CostPrior())


def candidate(
    name: str = "well",
    *,
    runtime: str = "fake",
    compression: str = "none",
    **params: Any,  # noqa: ANN401 - the fake's own parameters
) -> Candidate:
    """Return a candidate of the fake family."""
    chosen = variant(name, **params)
    return Candidate(family="fake", variant=chosen, compression=compression, runtime=runtime, label=chosen.label)


def _spoilt(table: NDArray[np.float64], behave: str) -> NDArray[np.float64]:
    if behave == "nan":
        table[0, 0] = np.nan
    return table[:, :-1] if behave == "shape" else table


def _copy(source: Path, out: Path) -> None:
    (out / _FILE).write_bytes((source / _FILE).read_bytes())


PLUGINS: Mapping[str, Mapping[str, Any]] = {
    "models": {"fake": FakeFamily()},
    "runtimes": {"fake": FakeRuntime(), "fake_other": OtherFakeRuntime()},
    "compression": {"fake_pass": FakePass()},
    "risk": {"fake_check": FakeCheck(), "fake_data_check": FakeDataCheck()},
}
"""What ``BAKEOFF_PLUGINS=bakeoff.testing:PLUGINS`` adds, by group."""
