"""Artefacts that several machines share: built here or fetched from where another machine put them, checked either way.

What is in the folder of the study is a cache of the shared place. Does not know: what is in the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path

from bakeoff.schema.artifact import FileEntry
from bakeoff.schema.errors import StepError, StudyError
from bakeoff.store.artifacts import ARTIFACT_FILE, ArtifactStore, read_artifact
from bakeoff.store.objects import DamagedError, Objects, folder_key
from bakeoff.store.unsafe import refuse_unsafe

_ARTIFACTS, _DATA = "artifacts", "data"
_COMPLETE = "complete"


class SharedArtifacts(ArtifactStore):
    """Artefact directories of one study that are also kept at a shared place.

    Args:
        directory: the folder of the study that holds them.
        objects: the shared place.

    """

    def __init__(self, directory: Path, objects: Objects) -> None:
        super().__init__(directory)
        self.objects = objects

    def obtain(self, key: str) -> bool:
        """Make sure the artefact of a step is here if it is anywhere; a damaged one is as none, so that it is made again.

        Raises:
            StudyError: the shared place cannot be reached.

        """
        with contextlib.suppress(DamagedError):
            self.fetch(key)
        return self.has(key)

    def fetch(self, key: str) -> None:
        """Fetch the artefact of a step unless it is here or nowhere.

        Raises:
            DamagedError: something of it is missing, damaged, or could run code when loaded.
            StudyError: the shared place cannot be reached.

        """
        if self.has(key) or (folder := self.objects.named(f"{_ARTIFACTS}/{key}")) is None:
            return
        room = self.begin(key)
        try:
            found = self.objects.get_folder(folder, room / "whole")
            _check(found, key)
            self.commit(found, key)
        finally:
            shutil.rmtree(room, ignore_errors=True)

    def share(self, key: str) -> None:
        """Put an artefact that is here at the shared place; what it shares with others there is not sent again.

        Raises:
            StudyError: the shared place cannot be reached or written.

        """
        self.objects.name(f"{_ARTIFACTS}/{key}", self.objects.put_folder(self.path(key)))

    def share_all(self) -> int:
        """Put every artefact that is here, and not yet there as it is here, at the shared place; return how many."""
        there = set(self.objects.names(_ARTIFACTS))
        missing = [key for key in self.keys() if key not in there or not self._is_shared(key)]
        for key in missing:
            self.share(key)
        return len(missing)

    def _is_shared(self, key: str) -> bool:
        """Whether what the name means is what is here, going by the hashes in the artefact's own description."""
        try:
            described = read_artifact(self.path(key)).files
        except StudyError:
            return False
        own = (self.path(key) / ARTIFACT_FILE).read_bytes()
        entry = FileEntry(path=ARTIFACT_FILE, sha256=hashlib.sha256(own).hexdigest(), size=len(own))
        return self.objects.named(f"{_ARTIFACTS}/{key}") == folder_key([*described, entry])[0]


def share_data(objects: Objects, directory: Path, fingerprint: str) -> None:
    """Put the frozen data of a study at the shared place, once.

    Args:
        objects: the shared place.
        directory: the study's folder of frozen data.
        fingerprint: of the data.

    Raises:
        StudyError: the shared place cannot be reached or written.

    """
    name = f"{_DATA}/{fingerprint}"
    if objects.named(name) is not None:
        return
    for place in sorted(directory.glob(f"*/{_COMPLETE}")):
        if fingerprint.encode() in (place.parent / "frozen.json").read_bytes():
            objects.name(name, objects.put_folder(place.parent))
            return


def fetch_data(objects: Objects, directory: Path, fingerprint: str) -> None:
    """Fetch the frozen data with this fingerprint, if they are not here but there.

    Raises:
        StudyError: they are damaged, or the shared place cannot be reached.

    """
    for place in directory.glob(f"*/{_COMPLETE}"):
        if fingerprint.encode() in (place.parent / "frozen.json").read_bytes():
            return
    key = objects.named(f"{_DATA}/{fingerprint}")
    if key is not None:
        objects.get_folder(key, directory / fingerprint)


def _check(directory: Path, key: str) -> None:
    """Refuse an artefact that is not what its own description says, or holds files that could run code."""
    try:
        wanted = {(entry.path, entry.size) for entry in read_artifact(directory).files}
        paths = [path for path in directory.rglob("*") if path.is_file() and path.name != ARTIFACT_FILE]
        found = {(path.relative_to(directory).as_posix(), path.stat().st_size) for path in paths}
        for path in paths:
            refuse_unsafe(path, path.relative_to(directory).as_posix())
    except (StudyError, StepError) as error:
        what = f"a shared artefact cannot be used: {error.what}"
        raise DamagedError(what, where=key, try_="run again: it is made again") from error
    if wanted != found:
        what = "a shared artefact is not what its own description says"
        raise DamagedError(what, where=key, try_="run again: it is made again")
