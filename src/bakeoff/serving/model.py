"""A bundle, opened for serving: checked, loaded, warmed up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bakeoff.data.transforms.rule import Classifier
from bakeoff.runtimes import sealed
from bakeoff.schema.artifact import Artifact, InputColumn
from bakeoff.schema.contract import Contract, Manifest
from bakeoff.schema.errors import BakeoffError, BundleError, UserError

Row = dict[str, Any]
Loader = Callable[[Artifact, Path, str, int], Any]
_WARM_UPS = 3


@dataclass(frozen=True)
class Opened:
    """A bundle whose files were compared with their hashes, parsed; nothing of the model is loaded yet."""

    root: Path
    manifest: Manifest
    contract: Contract
    artifact: Artifact
    version: str

    @property
    def directory(self) -> Path:
        """Folder of the artefact's files."""
        return self.root / "model"


@dataclass(frozen=True)
class Served:
    """A loaded bundle: what the server needs to answer."""

    opened: Opened
    classifier: Classifier
    canary: Row

    @property
    def name(self) -> str:
        """Name of the model in the Open Inference Protocol: the study's."""
        return self.opened.manifest.study


def open_bundle(root: Path) -> Opened:
    """Check every file against the manifest, then parse contract and artefact.

    Raises:
        BundleError: not a bundle, altered, incomplete or inconsistent.

    """
    manifest = sealed.read_manifest(root)
    sealed.check(root, manifest)
    contract = _record(Contract, root, "contract.json")
    artifact = _record(Artifact, root, "model/artifact.json")
    if (
        artifact.classes != manifest.classes
        or artifact.inputs != manifest.inputs
        or contract.candidate != manifest.candidate
    ):
        what = "manifest, contract and model do not belong together"
        raise BundleError(what, where=str(root), try_="ship it again from the study")
    return Opened(root, manifest, contract, artifact, sealed.identity(root))


def load(opened: Opened, threads: int | None = None, loader: Loader | None = None) -> Served:
    """Load the model with its runtime and run it on a made-up row until it is warm.

    Args:
        opened: a checked bundle.
        threads: threads of the model; the contract's when None.
        loader: gives a predictor for (artefact, directory, runtime, threads); ours when None.

    Raises:
        BundleError: the model does not load or cannot answer.
        UserError: something the runtime needs is not installed.

    """
    from bakeoff.runtimes.loading import load_predictor

    try:
        predictor = (loader or load_predictor)(
            opened.artifact, opened.directory, opened.manifest.runtime, threads or opened.contract.threads
        )
        classifier = Classifier(predictor, opened.artifact)
        canary = made_up(opened.artifact.inputs)
        for _ in range(_WARM_UPS):
            _, probabilities = classifier.predict([canary])
    except UserError:
        raise
    except BakeoffError as error:
        raise BundleError(error.what, where=str(opened.root), got=error.got, try_=error.try_) from error
    except Exception as error:  # whatever a native library raises while it reads a damaged file
        what = f"the model does not load: {type(error).__name__}: {error}"
        raise BundleError(
            what, where=str(opened.root), try_=f"pip install -r {opened.root}/requirements.txt"
        ) from error
    if probabilities.shape != (1, len(opened.artifact.classes)) or not np.isfinite(probabilities).all():
        what = "the model does not answer with one finite probability per class"
        raise BundleError(what, where=str(opened.root))
    return Served(opened, classifier, canary)


def made_up(inputs: tuple[InputColumn, ...]) -> Row:
    """Return a row nobody wrote, with a value in every column."""
    values: dict[str, Any] = {"text": "bakeoff 预热", "number": 0.0, "category": "bakeoff"}
    return {column.name: values[column.kind] for column in inputs}


def _record(record: type[Any], root: Path, name: str) -> Any:  # noqa: ANN401 - a Record of the given type
    try:
        return record.model_validate_json(sealed.contained(root, name).read_bytes())
    except FileNotFoundError:
        what = f"the bundle has no {name}"
        raise BundleError(what, where=str(root)) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        what = f"{name} is damaged or from another version: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BundleError(what, where=str(root)) from None
