"""Takes in what a node sends: writes results where the run looks for them, artefacts into the store, whole and checked or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bakeoff.evaluation.job import Job
from bakeoff.evaluation.launchers.base import Keep
from bakeoff.schema.errors import StudyError
from bakeoff.schema.trial import Environment, Failure
from bakeoff.store.artifacts import ArtifactStore, read_artifact


@dataclass(frozen=True)
class Loss:
    """Why a job was not carried out, for no fault of its own.

    Args:
        reason: in one line.
        node: Ray's name of the node that says so, or a word for those that would; empty when it died.
        again: what was sent did not arrive as it was, and is to be sent again.

    """

    reason: str
    node: str = ""
    again: bool = False


class Arrivals:
    """What one placement of a job sends.

    Args:
        job: the whole job. ``ended`` says that nothing more is to come of it, ``finished`` that the node said so itself, ``loss`` that it
            is to be carried out elsewhere.
        done: steps that earlier placements did.
        url: where artefacts are put by the nodes, None when they come in pieces.
        keep: notes the description of the node.
        on_tick: takes results in.

    """

    def __init__(self, job: Job, done: int, url: str | None, keep: Keep, on_tick: Callable[[], int]) -> None:
        self._out, self._number, self._url = Path(job.out), done, url
        self._keep, self._on_tick = keep, on_tick
        self._store = ArtifactStore(Path(job.store))
        self._coming: dict[str, Path] = {}
        self.ended = self.finished = False
        self.failure: Failure | None = None
        self.loss: Loss | None = None

    def take(self, message: tuple[Any, ...]) -> None:
        """Take in one message; see ``ray_node.Message``."""
        kind, *rest = message
        getattr(self, f"_{kind}")(*rest)

    def close(self) -> None:
        """Drop artefacts that did not arrive whole."""
        for path in self._coming.values():
            shutil.rmtree(path, ignore_errors=True)
        self._coming.clear()

    # ------------------------------------------------------------------------------------------------- ways of ending

    def interrupt(self) -> None:
        """The run is stopped: nothing is recorded, the step is simply still to be done."""
        reason, zh = "the run was stopped, or its time was over", "运行被中止，或整个运行的时间已用完"
        self._over(Failure(code="interrupted", reason=reason, reason_zh=zh))

    def out_of_memory(self, said: str) -> None:
        """The node ran out of memory and Ray ended the task."""
        reason, zh = "the node ran out of memory and the task was killed", "节点内存耗尽，任务被杀死"
        self._over(Failure(code="memory", reason=reason, reason_zh=zh, tail=said[-2000:]))

    def lose(self, reason: str, node: str = "") -> None:
        """The node died, or its Ray worker did, or it could not even begin."""
        self.ended, self.loss = True, Loss(reason[:500], node)

    def _over(self, failure: Failure | None) -> None:
        self.ended, self.failure = True, failure

    # ------------------------------------------------------------------------------------------------------- messages

    def _environment(self, text: str) -> None:
        self._keep(Environment.model_validate_json(text))

    def _file(self, key: str, name: str, piece: bytes) -> None:
        path = self._folder(key) / _relative(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(piece)

    def _stored(self, key: str, folder: str) -> None:
        from bakeoff.store.objects import Objects

        assert self._url is not None  # noqa: S101 - else the node would have sent pieces
        path = self._folder(key)
        path.rmdir()
        Objects(self._url).get_folder(folder, path)

    def _artifact(self, key: str) -> None:
        path = self._folder(key)
        for entry in read_artifact(path).files:
            with (path / entry.path).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                    what = "a file of an artefact changed on its way from the node"
                    raise StudyError(what, where=entry.path, try_="run again: it is built again")
        self._store.commit(path, key)
        del self._coming[key]

    def _result(self, text: bytes, arrays: bytes) -> None:
        name = f"{self._number:03d}"
        if arrays:
            (self._out / f"{name}.npz").write_bytes(arrays)
        partial = self._out / f"{name}.partial"
        partial.write_bytes(text)
        partial.replace(self._out / f"{name}.json")
        self._number += 1
        self._on_tick()

    def _end(self, failure: str) -> None:
        self.finished = True
        self._over(Failure.model_validate_json(failure) if failure else None)

    def _lost(self, node: str, reason: str, again: bool) -> None:  # noqa: FBT001 - a message's parts have no names
        self.finished = self.ended = True
        self.loss = Loss(reason, node, again)

    def _folder(self, key: str) -> Path:
        if key not in self._coming:
            self._coming[key] = self._store.begin(key)
        return self._coming[key]


def _relative(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        what = "a node sent a file for a place outside of the artefact"
        raise StudyError(what, got=name)
    return path
