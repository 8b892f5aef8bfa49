"""From a study folder to a bundle: finds the finalist's artefact and what its trial answered on the confirm rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.examples import Examples
from bakeoff.data.keep import kept
from bakeoff.delivery.bundle import ship
from bakeoff.delivery.sealing import Seal
from bakeoff.delivery.shards import Sharding
from bakeoff.delivery.whole import write_whole
from bakeoff.runtimes.loading import read_artifact
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.contract import Manifest
from bakeoff.schema.decision import Decision
from bakeoff.schema.errors import StudyError
from bakeoff.schema.spec import Spec
from bakeoff.store.archive import Archive
from bakeoff.store.evidence import Evidence, StudyEvidence


def ship_study(  # noqa: PLR0913 - one bundle has this many ingredients
    archive: Archive,
    decision: Decision,
    spec: Spec,
    out: Path,
    candidate: str | None = None,
    *,
    rows: bool = True,
    page: str | None = None,
    seal: Seal | None = None,
    sharding: Sharding | None = None,
    target: str | None = None,
    whole: bool = False,
) -> Manifest:
    """Write the bundle of one finalist.

    Args:
        archive: the study.
        decision: made under ``spec``.
        spec: the specification decided under.
        out: folder to write.
        candidate: id to ship; default: the recommended one.
        rows: whether the confirm rows travel with it, so that quality can be tested again.
        page: the HTML report, to travel with it.
        seal: who signs and what encrypts.
        sharding: into how many stages the model's graph is split; left whole when None.
        target: format to convert the model to; as it was measured when None.
        whole: whether the model in one ONNX file, with what comes before and after it, travels too.

    Raises:
        StudyError: nothing was recommended, or the candidate never reached the final.
        StepError: the model cannot be split, converted or put into one file like that.

    """
    name = candidate or (decision.recommended.id if decision.recommended else None)
    if name is None:
        what = "nothing to ship: no candidate meets the requirements"
        raise StudyError(
            what, where=str(archive.directory), try_="name one with --candidate, or relax a limit and decide again"
        )
    if sharding and (target or whole):
        what = "a model is split so that no server holds the whole: it is neither converted nor put into one file"
        raise StudyError(what, got=target, try_="leave out --shards, or --format and --whole")
    trial, threads = _trial(archive, name), spec.measuring.threads
    if target:
        shaped = _converted(trial.artifact, target, trial.candidate.runtime, trial.examples.rows, threads)
    else:
        shaped = _as_it_is(
            sharding.of(trial.artifact, trial.examples.rows) if sharding else nullcontext(trial.artifact)
        )
    with shaped as made, tempfile.TemporaryDirectory(prefix="bakeoff-") as place:
        runner = made.runtime or trial.candidate.runtime
        alone = (
            write_whole(made.folder, Path(place), runtime=runner, rows=trial.examples.rows, threads=threads)
            if whole
            else None
        )
        return ship(
            decision=decision, candidate=trial.candidate, artifact_dir=made.folder, contract_rows=trial.examples if rows else None,
            expected=trial.expected if rows else None, out=out, packages=trial.packages, spec=spec, report=page,
            members=trial.members, seal=seal, runtime=made.runtime, measured_as=made.measured_as, whole=alone,
        )  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """What the study knows of one finalist: its artefact, and what it answered on the confirm rows, in their order."""

    candidate: Candidate
    members: tuple[Candidate, ...]
    artifact: Path
    examples: Examples
    expected: tuple[NDArray[Any], NDArray[Any]]
    packages: Mapping[str, str]


def _trial(archive: Archive, name: str) -> _Trial:
    evidence = archive.evidence()
    predicted = _predicted(evidence, name, archive)
    archive.artifacts.fetch(predicted.result.inputs[-1])
    artifact = archive.artifacts.path(predicted.result.inputs[-1])
    if not artifact.is_dir():
        what = "the artefact of this candidate is not in the study folder any more"
        raise StudyError(what, where=str(artifact), try_="bakeoff run SPEC --out STUDY builds it again")
    archive.fetch_data(evidence.profile.data)
    indices = np.asarray(predicted.arrays["indices"], np.int32)
    order = np.argsort(indices, kind="stable")
    labels, shares = (np.asarray(predicted.arrays[part])[order] for part in ("predicted", "probabilities"))
    environment, candidate = evidence.environments.get(predicted.result.environment), evidence.candidate(name)
    return _Trial(
        candidate=candidate,
        members=tuple(evidence.candidate(member) for member in candidate.members),
        artifact=artifact,
        examples=kept(archive.data_directory, evidence.profile.data).take(indices[order]),
        expected=(labels, shares),
        packages=environment.packages if environment else {},
    )


@dataclass(frozen=True)
class _Shaped:
    """Folder of the artefact that is shipped, and how it differs from the one that was measured."""

    folder: Path
    runtime: str | None = None
    measured_as: str | None = None


@contextmanager
def _as_it_is(folder: AbstractContextManager[Path]) -> Iterator[_Shaped]:
    with folder as path:
        yield _Shaped(path)


@contextmanager
def _converted(
    artifact: Path, target: str, runtime: str, rows: Sequence[Mapping[str, Any]], threads: int
) -> Iterator[_Shaped]:
    """Convert the model, answers compared on the contract rows; nothing is different where it is of that format already."""
    from bakeoff.delivery.convert import convert  # it loads models

    measured = read_artifact(artifact).format
    if measured == target:
        yield _Shaped(artifact)
        return
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as place:
        made = convert(artifact, Path(place), target, runtime, rows, threads)
        yield _Shaped(Path(place), made.runtime, measured)


def _predicted(evidence: StudyEvidence, name: str, archive: Archive) -> Evidence:
    found = [
        row
        for row in evidence.results
        if row.result.candidate == name
        and row.result.kind == "predict"
        and row.result.status == "ok"
        and row.result.fidelity.split == "confirm"
    ]
    if not found:
        finalists = sorted({row.result.candidate for row in evidence.results if row.result.fidelity.split == "confirm"})
        what = "this candidate never reached the final, so nothing was promised for it"
        raise StudyError(what, where=str(archive.directory), got=name, allowed=finalists)
    return max(found, key=lambda row: (row.result.fidelity.fraction, -row.result.fidelity.seed))
