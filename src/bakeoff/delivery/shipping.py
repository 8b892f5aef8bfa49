"""From a study folder to a bundle: finds the finalist's artefact and what its trial answered on the confirm rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bakeoff.data.keep import kept
from bakeoff.delivery.bundle import ship
from bakeoff.schema.contract import Manifest
from bakeoff.schema.decision import Decision
from bakeoff.schema.errors import StudyError
from bakeoff.schema.spec import Spec
from bakeoff.store.archive import Archive
from bakeoff.store.evidence import Evidence, StudyEvidence


def ship_study(
    archive: Archive,
    decision: Decision,
    spec: Spec,
    out: Path,
    candidate: str | None = None,
    *,
    rows: bool = True,
    page: str | None = None,
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

    Raises:
        StudyError: nothing was recommended, or the candidate never reached the final.

    """
    name = candidate or (decision.recommended.id if decision.recommended else None)
    if name is None:
        what = "nothing to ship: no candidate meets the requirements"
        raise StudyError(
            what, where=str(archive.directory), try_="name one with --candidate, or relax a limit and decide again"
        )
    evidence = archive.evidence()
    predicted = _predicted(evidence, name, archive)
    artifact = archive.directory / "artifacts" / predicted.result.inputs[-1]
    if not artifact.is_dir():
        what = "the artefact of this candidate is not in the study folder any more"
        raise StudyError(what, where=str(artifact), try_="bakeoff run SPEC --out STUDY builds it again")
    frozen = kept(archive.data_directory, evidence.profile.data)
    order = np.argsort(np.asarray(predicted.arrays["indices"]), kind="stable")
    indices = np.asarray(predicted.arrays["indices"], np.int32)[order]
    expected = tuple(np.asarray(predicted.arrays[part])[order] for part in ("predicted", "probabilities"))
    environment = evidence.environments.get(predicted.result.environment)
    return ship(
        decision=decision,
        candidate=evidence.candidate(name),
        artifact_dir=artifact,
        contract_rows=frozen.take(indices) if rows else None,
        expected=(expected[0], expected[1]) if rows else None,
        out=out,
        packages=environment.packages if environment else {},
        spec=spec,
        report=page,
    )


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
