"""What a job needs beside itself, packed by the coordinator and laid out again on a node: paths there are other paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bakeoff.evaluation.job import Job, MemberRef, StepPlan
from bakeoff.evaluation.launchers.parcels import Depot, Parcel, Sender
from bakeoff.store.artifacts import link_or_copy

_PLACE = "artifact"
"""Entry of a risk step's detail that names the artefact's folder."""


@dataclass(frozen=True)
class Cargo:
    """A job as it travels.

    Args:
        job: as JSON, with the coordinator's paths.
        folders: parcels by the coordinator's path.
        files: contents of small files by the coordinator's path.
        artifact: path and key of the artefact the job starts from; it lies in the job's store.

    """

    job: str
    folders: dict[str, Parcel] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    artifact: tuple[str, str] | None = None


def pack(job: Job, sender: Sender, *, again: bool = False) -> Cargo:
    """Pack a job with everything it reads; ``again``: what was sent before did not arrive as it was."""
    artifact = _artifact(job)
    folders = {job.frozen, *(member.directory for member in job.members)}
    folders |= {path for path in (job.weights, artifact[0] if artifact else None) if path is not None}
    folders |= {str(step.detail[_PLACE]) for step in job.steps if _PLACE in step.detail}
    lasting = {job.frozen, job.weights}
    files = {path for path in (job.rows, job.arrays, *(member.arrays for member in job.members)) if path}
    return Cargo(
        job=job.model_dump_json(),
        folders={path: sender.send(Path(path), keep=path in lasting, again=again) for path in sorted(folders)},
        files={path: Path(path).read_bytes() for path in sorted(files)},
        artifact=artifact,
    )


def unpack(cargo: Cargo, work: Path, depot: Depot, features: Path) -> Job:
    """Lay a job out below ``work`` and return it with the paths of this machine.

    Args:
        cargo: what arrived.
        work: empty folder of this job.
        depot: the folders this node has.
        features: the node's own vectors of frozen encoders; they are content-addressed, so any study may share them.

    """
    job = Job.model_validate_json(cargo.job)
    place = {path: str(depot.fetch(parcel)) for path, parcel in cargo.folders.items()}
    for number, (path, content) in enumerate(cargo.files.items()):
        target = work / f"{number:02d}-{Path(path).name}"
        target.write_bytes(content)
        place[path] = str(target)
    store = work / "artifacts"
    store.mkdir()
    if cargo.artifact is not None:
        path, key = cargo.artifact
        _lay_out(Path(place[path]), store / key)
    (work / "out").mkdir()
    update = {
        "store": str(store), "frozen": place[job.frozen], "out": str(work / "out"), "features": str(features) if job.features else None,
        "rows": _at(place, job.rows), "arrays": _at(place, job.arrays), "weights": _at(place, job.weights),
        "members": tuple(_member(member, place) for member in job.members), "steps": tuple(_step(step, place) for step in job.steps),
    }  # fmt: skip
    return job.model_copy(update=update)


def _artifact(job: Job) -> tuple[str, str] | None:
    """Return path and key of the artefact the first step starts from, if it starts from one in the store."""
    first = job.steps[0]
    if first.kind in {"build", "risk"} or not first.inputs:
        return None
    return str(Path(job.store) / first.inputs[-1]), first.inputs[-1]


def _lay_out(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            link_or_copy(path, target / path.relative_to(source))


def _at(place: dict[str, str], path: str | None) -> str | None:
    return place[path] if path else None


def _member(member: MemberRef, place: dict[str, str]) -> MemberRef:
    return member.model_copy(
        update={"directory": place[member.directory], "arrays": place.get(member.arrays, member.arrays)}
    )


def _step(step: StepPlan, place: dict[str, str]) -> StepPlan:
    if _PLACE not in step.detail:
        return step
    return step.model_copy(update={"detail": {**step.detail, _PLACE: place[str(step.detail[_PLACE])]}})
