"""Loads an artefact with the runtime named for it, without searching for plugins: what serving and ensembles use."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from bakeoff.data.transforms.rule import Classifier
from bakeoff.runtimes import sealed
from bakeoff.runtimes.base import Predictor, Runtime
from bakeoff.runtimes.named import check_transform
from bakeoff.schema.artifact import Artifact, FileEntry
from bakeoff.schema.errors import BundleError, StepError, UserError

ARTIFACT_FILE = "artifact.json"
RUNTIMES = {
    "composite": "bakeoff.runtimes.composite",
    "litert": "bakeoff.runtimes.litert",
    "llama_cpp": "bakeoff.runtimes.llama_cpp",
    "native": "bakeoff.runtimes.native",
    "onnxruntime": "bakeoff.runtimes.onnxruntime",
    "openai_api": "bakeoff.runtimes.openai_api",
    "openvino": "bakeoff.runtimes.openvino",
    "pytorch": "bakeoff.runtimes.pytorch",
}
"""Our own runtimes; a test keeps this table equal to what the registry finds."""
_SHIPPED = {"sharded": "bakeoff.runtimes.shards.predictor"}
"""Runtimes of formats that only shipping makes: no study measures them, so the registry does not know them."""


def runtime_named(name: str) -> Runtime:
    """Return a runtime plugin: ours by module, others' by entry point.

    Raises:
        UserError: there is no such runtime.

    """
    module = RUNTIMES.get(name) or _SHIPPED.get(name)
    if module is not None:
        return cast("Runtime", importlib.import_module(module).PLUGIN)
    points = importlib.metadata.entry_points(group="bakeoff.runtimes", name=name)
    for point in points:
        return cast("Runtime", point.load())
    what = "no such runtime"
    raise UserError(what, got=name, allowed=sorted(RUNTIMES))


def load_predictor(artifact: Artifact, directory: Path, runtime_name: str, threads: int) -> Predictor:
    """Load an artefact whose files are in ``directory``; the result gives raw probabilities.

    Raises:
        UserError: there is no such runtime.
        StepError: the runtime does not load this format ('unsupported'), or a library is missing ('unavailable').

    """
    runtime = runtime_named(runtime_name)
    if artifact.format not in runtime.traits.loads:
        what = f"runtime {runtime_name} does not load this format"
        raise StepError("unsupported", what, got=artifact.format, allowed=runtime.traits.loads)
    check_transform(artifact, directory)
    return runtime.load(artifact, directory, threads)


def load_classifier(directory: Path, runtime_name: str, threads: int, *, verify: bool = False) -> Classifier:
    """Load the artefact described by ``directory/artifact.json`` with its rule applied.

    Args:
        directory: an artefact directory.
        runtime_name: file name of the runtime.
        threads: upper limit of the threads used.
        verify: read and hash every file first.

    Raises:
        BundleError: ``artifact.json`` is missing or malformed, or (with ``verify``) a file is missing or altered.

    """
    artifact = read_artifact(directory)
    if verify:
        verify_files(artifact.files, directory)
    return Classifier(load_predictor(artifact, directory, runtime_name, threads), artifact)


def read_artifact(directory: Path) -> Artifact:
    """Read ``artifact.json``.

    Raises:
        BundleError: it is missing or malformed.

    """
    path = directory / ARTIFACT_FILE
    try:
        return Artifact.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        what = f"{ARTIFACT_FILE} is missing"
        raise BundleError(what, where=str(directory)) from error
    except ValidationError as error:
        what = f"{ARTIFACT_FILE} is malformed: {error.errors()[0]['msg']}"
        raise BundleError(what, where=str(directory)) from error


def verify_files(files: tuple[FileEntry, ...], directory: Path) -> None:
    """Hash every listed file; files that are not listed are left alone.

    Raises:
        BundleError: a path leaves the directory, or a file is missing, a link, or altered.

    """
    listed = {ARTIFACT_FILE, *(entry.path for entry in files)}
    unlisted = [name for name, _ in sealed.walk(directory) if name not in listed]
    found = sealed.problems(directory, files, [ARTIFACT_FILE, *unlisted])
    if found:
        what = f"the artefact is not as it was built: {'; '.join(found[:8])}"
        raise BundleError(what, where=str(directory))
