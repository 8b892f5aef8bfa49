"""A bundle, opened for serving: checked, loaded, warmed up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bakeoff.data.transforms.rule import Classifier
from bakeoff.runtimes import encryption, endpoints, sealed
from bakeoff.runtimes.encryption import SUFFIX, Cipher
from bakeoff.runtimes.keys import Keys
from bakeoff.runtimes.memory import MemoryFolder
from bakeoff.runtimes.screening import screen
from bakeoff.runtimes.sealed import Sealed
from bakeoff.schema.artifact import Artifact, InputColumn
from bakeoff.schema.contract import Contract, Manifest
from bakeoff.schema.errors import BakeoffError, BundleError, UserError

Row = dict[str, Any]
Loader = Callable[[Artifact, Path, str, int], Any]
_WARM_UPS = 3


@dataclass(frozen=True)
class Opened:
    """A bundle whose files were compared with their hashes, parsed; nothing of the model is loaded yet.

    ``memory`` holds what was encrypted, as plain files that no disk has seen; None when nothing was. ``endpoints`` are URLs that the
    model may ask although nobody trusted signed the bundle.
    """

    root: Path
    manifest: Manifest
    contract: Contract
    artifact: Artifact
    version: str
    sealed: Sealed
    memory: MemoryFolder | None = None
    endpoints: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """Folder of the artefact's files."""
        return (self.memory.path if self.memory else self.root) / "model"

    def path(self, name: str) -> Path | None:
        """Return where a file of the bundle can be read, decrypted if it was encrypted; None when it is not there."""
        if self.memory is not None and (self.memory.path / name).is_file():
            return self.memory.path / name
        listed = any(entry.path == name for entry in self.manifest.files)
        return sealed.contained(self.root, name) if listed else None


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


def open_bundle(root: Path, keys: Keys | None = None, expected: str | None = None) -> Opened:
    """Check signature and manifest, every file against it, decrypt what is encrypted, then parse contract and artefact.

    Args:
        root: the bundle.
        keys: whom to trust and what to decrypt with; what the environment says when None.
        expected: SHA-256 of the manifest (``Sealed.sha256``) of the bundle that this must be; any when None.

    Raises:
        BundleError: not a bundle, another one than expected, altered, incomplete, inconsistent, not signed by whom it must be, or
            the key is wrong or missing.

    """
    keys = keys or Keys.given()
    found = sealed.open_sealed(root, keys.trusted(), expected)
    memory = _decrypted(found, keys)
    try:
        contract = _record(Contract, root, "contract.json", found.read("contract.json"))
        artifact = _record(Artifact, root, "model/artifact.json", _artifact(found, memory))
        _consistent(root, found.manifest, contract, artifact)
        opened = Opened(root, found.manifest, contract, artifact, found.identity, found, memory, keys.endpoints)
        _screened(opened)
    except BaseException:
        if memory is not None:
            memory.close()
        raise
    return opened


def _decrypted(found: Sealed, keys: Keys) -> MemoryFolder | None:
    """Decrypt every file that is encrypted, in memory."""
    encrypted = [entry.path for entry in found.manifest.files if entry.path.endswith(SUFFIX)]
    if found.manifest.encryption is None:
        if keys.decrypt is not None:  # whoever gives a key expects what only its holders can have made
            what = "the bundle is not encrypted, and a key to decrypt it with was given"
            raise BundleError(
                what, where=str(found.root), try_="leave --decrypt out if a plain bundle is what you want"
            )
        return None
    secret = keys.secret()
    if secret is None:
        what = "the bundle is encrypted and no key was given"
        raise BundleError(
            what,
            where=str(found.root),
            allowed=f"key {found.manifest.encryption.key}",
            try_="--decrypt KEYFILE or --decrypt env:NAME",
        )
    cipher = Cipher(secret, found.manifest.encryption, encryption.context(found.raw))
    memory = MemoryFolder()
    try:
        for path in encrypted:
            name = path.removesuffix(SUFFIX)
            sealed.contained(memory.path, name)  # what is left of a name may be none
            with sealed.contained(found.root, path).open("rb") as stream:
                memory.write(name, cipher.decrypt(name, stream))
    except BaseException:
        memory.close()
        raise
    return memory


def _artifact(found: Sealed, memory: MemoryFolder | None) -> bytes:
    name = "model/artifact.json"
    if memory is None:
        return found.read(name)
    try:
        return (memory.path / name).read_bytes()
    except FileNotFoundError:
        what = f"the bundle has no {name}"
        raise BundleError(what, where=str(found.root)) from None


def _consistent(root: Path, manifest: Manifest, contract: Contract, artifact: Artifact) -> None:
    if (
        artifact.classes != manifest.classes
        or artifact.inputs != manifest.inputs
        or contract.candidate != manifest.candidate
    ):
        what = "manifest, contract and model do not belong together"
        raise BundleError(what, where=str(root), try_="ship it again from the study")


def _screened(opened: Opened) -> None:
    """Look at every file a library will read."""
    for entry in opened.manifest.files:
        name = entry.path.removesuffix(SUFFIX) if opened.memory else entry.path
        path = opened.path(name)
        if path is not None and (name.startswith(("model/", "wheels/")) or name.endswith(".onnx")):
            screen(path, name)


def load(opened: Opened, threads: int | None = None, loader: Loader | None = None) -> Served:
    """Load the model with its runtime and run it on a made-up row until it is warm.

    Args:
        opened: a checked bundle.
        threads: threads of the model; the contract's when None.
        loader: gives a predictor for (artefact, directory, runtime, threads); ours when None.

    Raises:
        BundleError: the model does not load or cannot answer, or a file changed since it was checked.
        UserError: something the runtime needs is not installed.

    """
    from bakeoff.runtimes.loading import load_predictor

    endpoints.check(artifacts(opened), opened.endpoints, trusted=opened.sealed.signature.state == "trusted")
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
    opened.sealed.check_unchanged()
    return Served(opened, classifier, canary)


def artifacts(opened: Opened) -> list[Artifact]:
    """Return what describes the model, and every member of an ensemble."""
    found = [opened.artifact]
    for entry in opened.manifest.files:
        name = entry.path.removesuffix(SUFFIX) if opened.memory else entry.path
        path = opened.path(name) if name.startswith("model/") and name.endswith("/artifact.json") else None
        if path is not None and name != "model/artifact.json":
            found.append(_record(Artifact, opened.root, name, path.read_bytes()))
    return found


def made_up(inputs: tuple[InputColumn, ...]) -> Row:
    """Return a row nobody wrote, with a value in every column."""
    values: dict[str, Any] = {"text": "bakeoff 预热", "number": 0.0, "category": "bakeoff"}
    return {column.name: values[column.kind] for column in inputs}


def _record(record: type[Any], root: Path, name: str, content: bytes) -> Any:  # noqa: ANN401 - a Record of the given type
    try:
        return record.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        what = f"{name} is damaged or from another version: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BundleError(what, where=str(root)) from None
