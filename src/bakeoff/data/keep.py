"""Frozen data kept in the study folder, so that a second run reads in a moment what the first one prepared."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from bakeoff.data.freeze import Frozen, check_names, load_frozen, prepare, save_frozen
from bakeoff.data.noise import measured_profile
from bakeoff.schema.base import content_key
from bakeoff.schema.errors import DataError
from bakeoff.schema.spec import Spec

_VERSION = 1
"""Raise it when reading, cleaning, splitting or profiling changes what comes out for the same file."""


def freeze(spec: Spec, base: Path, directory: Path | None, *, noise: bool = False) -> Frozen:
    """Return the frozen data of a specification.

    Args:
        spec: names the file and what to honour in it.
        base: folder the file's path is relative to.
        directory: where frozen data are kept; None reads and profiles only, keeps nothing and skips what takes seconds
            (label noise, the score of a careless split) unless ``noise``.
        noise: measure those too although nothing is kept.

    """
    if directory is None:
        frozen = prepare(spec, base)
        learns = noise and importlib.util.find_spec("sklearn") is not None
        return measured_profile(spec, base, frozen) if learns else frozen
    place = directory / _key(spec, base / spec.data.file)
    if (place / "complete").exists():
        kept = load_frozen(place)
        check_names(spec, kept.classes)  # names of labels outside the key may have changed
        return kept
    frozen = prepare(spec, base)
    if importlib.util.find_spec("sklearn") is not None:
        frozen = measured_profile(spec, base, frozen)
    place.mkdir(parents=True, exist_ok=True)
    save_frozen(frozen, place)
    (place / "complete").touch()
    return frozen


def kept(directory: Path, fingerprint: str) -> Frozen:
    """Return the frozen data with this fingerprint from a study's data folder.

    Raises:
        DataError: they are not there.

    """
    for place in sorted(directory.glob("*/complete")):
        frozen = load_frozen(place.parent)
        if frozen.fingerprint == fingerprint:
            return frozen
    raise DataError(
        "the frozen data are not in the study folder", where=str(directory), try_="run the specification again"
    )


def _key(spec: Spec, file: Path) -> str:
    """Address of the prepared data: the file's content and every field of the specification that preparing reads."""
    if not file.is_file():
        raise DataError(
            "no such data file", where="data.file", got=str(file), try_="write the path relative to the specification"
        )
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    data = spec.data.model_dump(mode="json", exclude={"file", "instruction", "labels"})
    return content_key(
        _VERSION,
        digest,
        spec.task,
        data,
        spec.seed,
        spec.requirements.quality,
        spec.decision.confidence,
        spec.risk.personal_data,
    )
