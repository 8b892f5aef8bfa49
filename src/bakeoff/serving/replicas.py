"""Replicas of one ONNX model on different execution providers: processors, and whatever accelerators ONNX Runtime finds here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.onnxruntime import CPU, Provider, load_on
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError, UserError
from bakeoff.serving.model import made_up
from bakeoff.serving.router import Backend, Router

_SUFFIX = "ExecutionProvider"
_NOT_HERE = frozenset({"azure"})
"""Providers that compute elsewhere: rows do not leave the machine because a library can."""
_CPU = "cpu"


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
        backends = [_backend(artifact, directory, name, number) for name, number in wanted]
        if text == "auto":
            backends = [backend for backend in backends if _starts(backend)]
        return Router(backends, [made_up(artifact.inputs)])

    return open_


def _backend(artifact: Artifact, directory: Path, name: str, number: int) -> Backend:
    def open_() -> Predictor:
        if name == _CPU:
            return load_on(artifact, directory, number, (CPU,))
        return load_on(artifact, directory, 1, _preferred(name, number))

    return Backend(f"{name}:{number}", open_)


def _preferred(name: str, device: int) -> Sequence[Provider]:
    """Return the provider with its device, and the CPU for the operators it does not have."""
    import onnxruntime

    full = next(one for one in onnxruntime.get_available_providers() if one.removesuffix(_SUFFIX).lower() == name)
    options: dict[str, Any] = {"device_id": device} if device else {}
    return ((full, options), CPU)


def _starts(backend: Backend) -> bool:
    try:
        backend.open().close()
    except StepError:
        return False
    return True
