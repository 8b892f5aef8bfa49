"""The one way from a name that an artefact gives to a file that is opened.

Whoever wrote an artefact chose the names in it. A name is good when it is a plain path below the artefact, is listed among its files
(an artefact that is still being built lists none; of a bundle every file is in the manifest besides), and ends as the format's files do:
what was looked at before loading (``runtimes.screening``) goes by that ending, and so does what libraries make of a file.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from bakeoff.runtimes.sealed import contained
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import BundleError, StepError

_OF_TRANSFORMS = {"words": ".json", "tokenizer": ".json"}


def named(artifact: Artifact, directory: Path, name: object, suffix: str) -> Path:
    """Return the path of a file that the artefact names.

    Args:
        artifact: whose ``files`` list it.
        directory: of the artefact.
        name: relative path with forward slashes.
        suffix: how it has to end, such as ``.npz``; empty: any.

    Raises:
        StepError: it lies elsewhere, is not listed or ends otherwise ('unsafe'), or is not there ('error').

    """
    try:
        path = contained(directory, str(name))
    except BundleError as error:
        what = f"the artefact names a file that is not safe to read: {error}"
        raise StepError("unsafe", what) from error
    if suffix and PurePosixPath(str(name)).suffix != suffix:
        what = "the artefact names a file of another kind"
        raise StepError("unsafe", what, got=str(name), allowed=f"*{suffix}")
    if artifact.files and str(name) not in {entry.path for entry in artifact.files}:
        what = "the artefact names a file that it does not list"
        raise StepError("unsafe", what, got=str(name), try_="build it again: every file is listed with its hash")
    if not path.is_file():
        what = "a file of the artefact is missing"
        raise StepError("error", what, where=str(path))
    return path


def check_transform(artifact: Artifact, directory: Path) -> None:
    """Make sure that the files a transform reads are the artefact's own; see ``named``."""
    for field, suffix in _OF_TRANSFORMS.items():
        if field in artifact.transform:
            named(artifact, directory, artifact.transform[field], suffix)
