"""What is promised of the delivered artefact, and what is in the delivery."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bakeoff.schema.artifact import FileEntry, InputColumn
from bakeoff.schema.base import Record, Words
from bakeoff.schema.measurement import Measurement


class Promise(Record):
    """One clause of the contract: a limit from the specification and what the trial measured."""

    name: str
    direction: Literal["min", "max"]
    limit: float
    unit: str
    trial: Measurement


class Contract(Record):
    """The promises the winner must keep when delivered: re-tested by ``verify``, then watched."""

    candidate: str
    label: Words
    task: str
    metric: str
    confidence: float
    threads: int
    promises: tuple[Promise, ...]
    rows: int = Field(description="Contract rows stored in the bundle; 0 when the data may not travel.")


class Archive(Record):
    """One published archive, pinned to the byte."""

    package: str = Field(description="Name of the distribution.")
    version: str = Field(description="Exact version.")
    filename: str = Field(description="Name of the archive.")
    sha256: str = Field(description="SHA-256 of the archive.")


class Weights(Record):
    """Where pretrained weights came from: hashes only, no address."""

    name: str = Field(description="Name of the asset or of the model, as the catalogue spells it.")
    sha256: str | None = Field(
        None,
        description="Hash of the asset's recipe: its name, revision and every archive; of weights that people brought, of all their files.",
    )
    licence: str | None = Field(None, description="SPDX id, or 'unstated'.")
    archives: tuple[Archive, ...] = Field((), description="The archives they were taken from.")


class Encryption(Record):
    """How the files that end in ``.enc`` were encrypted; the key itself is nowhere in the bundle."""

    scheme: Literal["AES-256-GCM-STREAM"] = Field("AES-256-GCM-STREAM", description="How the files are laid out.")
    key: str = Field(
        pattern=r"^[0-9a-f]{16}$", description="First 16 hexadecimal digits of a hash of the key: tells keys apart."
    )
    salt: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="32 random bytes in hexadecimal digits; every file's key is derived from them.",
    )


class Manifest(Record):
    """Everything in a bundle, with hashes."""

    schema_version: Literal[1] = 1
    bakeoff: str
    study: str
    candidate: str
    label: Words
    family: str
    runtime: str
    task: str
    classes: tuple[str, ...]
    inputs: tuple[InputColumn, ...]
    files: tuple[FileEntry, ...]
    licences: tuple[str, ...]
    packages: dict[str, str] = Field(description="Versions the artefact was measured with, for what serving needs.")
    provenance: dict[str, Any] = Field(default_factory=dict)
    formats: tuple[str, ...] = Field((), description="Formats of the model files, an ensemble's members included.")
    weights: tuple[Weights, ...] = Field((), description="Pretrained weights inside.")
    measured_as: str | None = Field(
        None, description="Format the trial measured, when the model was converted or split to be shipped."
    )
    contract: str | None = Field(None, description="SHA-256 of contract.json.")
    checksum: bool = Field(False, description="Whether manifest.sha256 lies beside the manifest.")
    signer: str | None = Field(
        None, description="Ed25519 public key, base64, of whoever signed manifest.sig; null: not signed."
    )
    encryption: Encryption | None = Field(None, description="Null: every file can be read.")
