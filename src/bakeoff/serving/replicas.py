"""Replicas of one ONNX model on different execution providers: processors, and whatever accelerators ONNX Runtime finds here.

The contract was measured on a CPU. So a replica is taken only if it answers like a CPU, within what its kind of arithmetic may drift,
each time it is opened: a provider that computes with fewer bits, or wrongly on this machine, does not get to answer anybody.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.rule import scale
from bakeoff.evaluation.parity import allowed_drift
from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.onnxruntime import CPU, Provider, load_on
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError, UserError
from bakeoff.serving.model import Row, made_up
from bakeoff.serving.router import Backend, Router
from bakeoff.serving.speed import MOST

logger = logging.getLogger("bakeoff.router")

_SUFFIX = "ExecutionProvider"
_NOT_HERE = frozenset({"azure"})
"""Providers that compute elsewhere: rows do not leave the machine because a library can."""
_CPU = "cpu"
_NVIDIA = frozenset({"cuda", "tensorrt"})
_OPTIONS: dict[str, dict[str, Any]] = {"cuda": {"use_tf32": "0"}}
"""Options that keep answers: by default CUDA multiplies in TensorFloat-32, with 10 bits where the contract's CPU had 23."""
_SIZES = (8, 1, 64)
"""Of the rows that every replica has to answer like a CPU: how often a text is repeated, and how far numbers lie from the usual one."""
_MORE = 8
"""Times as many rows where there is no text, and a row is cheap."""


def available() -> list[str]:
    """Return the short names of the execution providers that this ONNX Runtime was built with: ``cuda``, ``openvino``, ``cpu``.

    Raises:
        StepError: ONNX Runtime is not installed ('unavailable').

    """
    try:
        import onnxruntime
    except ImportError as error:
        what = "onnxruntime is not installed"
        raise StepError("unavailable", what, try_="pip install 'bakeoff[onnx]'") from error
    names = [name.removesuffix(_SUFFIX).lower() for name in onnxruntime.get_available_providers()]
    return [name for name in names if name not in _NOT_HERE]


def parse(text: str, threads: int) -> list[tuple[str, int]]:
    """Read ``auto``, or replicas separated by commas: ``cpu:THREADS``, ``PROVIDER`` or ``PROVIDER:DEVICE``.

    Args:
        text: what the user wrote.
        threads: of a CPU replica that says none.

    Returns:
        Provider and number of each replica.

    Raises:
        UserError: a provider that is not here, or a number that is none.

    """
    known = available()
    if text == "auto":
        return [(name, threads if name == _CPU else 0) for name in known]
    found = []
    for item in text.split(","):
        name, colon, number = item.strip().lower().partition(":")
        if name not in known or (colon and not number.isdecimal()) or (name == _CPU and number == "0"):
            what = "no such replica can be made here"
            raise UserError(what, where="--route", got=item, allowed=[f"{one}:N" for one in known])
        found.append((name, int(number) if number else threads if name == _CPU else 0))
    return found


def loader(text: str) -> Callable[[Artifact, Path, str, int], Predictor]:
    """Return what loads an ONNX model as replicas behind one router; see ``parse`` for what may be asked for.

    With ``auto`` a provider that does not start on this machine is left out; one that was asked for by name is an error.
    """

    def open_(artifact: Artifact, directory: Path, runtime: str, threads: int) -> Predictor:
        if runtime != "onnxruntime":
            what = "only models on ONNX Runtime can be spread over execution providers"
            raise UserError(what, where="--route", got=runtime)
        wanted = parse(text, threads)
        made = _Making(artifact, directory, threads)
        backends = [Backend(f"{name}:{number}", functools.partial(made.open, name, number)) for name, number in wanted]
        return Router(backends, made.rows[:1], optional=text == "auto")

    return open_


class _Making:
    """Opens replicas of one artefact, and holds each to what a CPU answers to the same rows.

    Attributes:
        rows: that every replica answers, one of usual length first.

    """

    def __init__(self, artifact: Artifact, directory: Path, threads: int) -> None:
        self._artifact, self._directory, self.rows = artifact, directory, _looks(artifact)
        with contextlib.closing(load_on(artifact, directory, threads, (CPU,))) as cpu:
            self._expected = self._answers(cpu)
        if not np.isfinite(self._expected).all():
            what = "the model does not answer made-up rows with finite numbers"
            raise StepError("non_finite", what)

    def open(self, name: str, number: int) -> Predictor:
        """Open a replica.

        Raises:
            StepError: it does not start here ('unavailable'), or answers otherwise ('parity').

        """
        if name == _CPU:
            predictor = load_on(self._artifact, self._directory, number, (CPU,))
        else:
            predictor = load_on(_enlarged(self._artifact), self._directory, 1, _preferred(name, number))
        try:
            drift = float(np.abs(self._answers(predictor) - self._expected).max())
            allowed = allowed_drift([self._artifact])
            if not drift <= allowed:  # NaN, too
                what = "this replica does not answer like a CPU"
                got = f"a probability that differs by {drift:.2g}"
                raise StepError("parity", what, where=f"{name}:{number}", got=got, allowed=f"{allowed:g}")
        except BaseException:
            predictor.close()
            raise
        return predictor

    def _answers(self, predictor: Predictor) -> NDArray[np.float64]:
        """Return the probabilities (n, k) that ``bakeoff verify`` would compare."""
        return scale(predictor.predict_proba(self.rows), self._artifact.rule.temperature)


def _enlarged(artifact: Artifact) -> Artifact:
    """Let a graph run as many rows at once as the router hands over, unless its maker says how many: the usual limit is a CPU's."""
    if artifact.meta.get("batch"):
        return artifact
    return artifact.model_copy(update={"meta": {**artifact.meta, "batch": MOST}})


def _looks(artifact: Artifact) -> list[Row]:
    """Return rows nobody wrote: texts short and long, numbers small and large, categories that the model knows."""
    random = np.random.default_rng(0)
    recorded = artifact.transform.get("columns", ())
    columns = {str(column["name"]): column for column in recorded if isinstance(column, Mapping)}
    usual, kinds = made_up(artifact.inputs), {column.name: column.kind for column in artifact.inputs}

    def cell(name: str, size: int) -> Any:  # noqa: ANN401 - whatever a column holds
        if kinds[name] == "text":
            return " ".join([usual[name]] * size)
        column = columns.get(name, {})
        if kinds[name] == "number":
            return float(column.get("fill") or 0.0) + size * float(random.normal())
        return str(random.choice(column["values"])) if column.get("values") else usual[name]

    times = 1 if "text" in kinds.values() else _MORE
    return [{name: cell(name, size) for name in usual} for size in _SIZES * times]


def _preferred(name: str, device: int) -> Sequence[Provider]:
    """Return the provider with its device, and the CPU for the operators it does not have."""
    import onnxruntime

    if name in _NVIDIA:
        _find_cuda()
    full = next(one for one in onnxruntime.get_available_providers() if one.removesuffix(_SUFFIX).lower() == name)
    options = _OPTIONS.get(name, {}) | ({"device_id": device} if device else {})
    return ((full, options), CPU)


@functools.cache
def _find_cuda() -> None:
    """Load NVIDIA's libraries where they came as Python packages: the loader of shared libraries does not look there."""
    import onnxruntime

    if not hasattr(onnxruntime, "preload_dlls"):  # before 1.21
        return
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    if said.getvalue():
        logger.info("%s", said.getvalue().strip())
