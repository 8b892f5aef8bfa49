"""Writes the deliverable: one folder with the model, its contract, the proof, and everything to run it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import bakeoff
from bakeoff.data import personal
from bakeoff.data.examples import Examples, Row
from bakeoff.delivery import container, locks, promises, provenance, readme, requirements, sbom, sealing, workplace
from bakeoff.delivery import rows as contract_rows_
from bakeoff.delivery.rows import ContractRows
from bakeoff.delivery.sealing import Seal
from bakeoff.delivery.wheel import build_wheel
from bakeoff.delivery.whole import WHOLE, compare, example, gate
from bakeoff.loadgen.gate import spans
from bakeoff.risk._files import scan
from bakeoff.runtimes import sealed
from bakeoff.runtimes.loading import read_artifact
from bakeoff.runtimes.shards.plan import FORMAT, RUNTIME, UNSPLIT, ShardPlan, read_plan
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Record, content_key
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.contract import Contract, Manifest
from bakeoff.schema.decision import CandidateVerdict, Decision
from bakeoff.schema.errors import BundleError
from bakeoff.schema.spec import Spec

Expected = tuple[NDArray[Any], NDArray[Any]]
_MODE = 0o644
_BARE = 64.0 * 2**20
"""Bytes of a process with ONNX Runtime and no graph, at least."""


def ship(  # noqa: PLR0913 - one bundle has this many ingredients
    *,
    decision: Decision,
    candidate: Candidate,
    artifact_dir: Path,
    contract_rows: Examples | None,
    expected: Expected | None,
    out: Path,
    packages: Mapping[str, str],
    spec: Spec,
    clean: Callable[[Row], Row] | None = None,
    report: str | None = None,
    members: Sequence[Candidate] = (),
    seal: Seal | None = None,
    runtime: str | None = None,
    measured_as: str | None = None,
    whole: Path | None = None,
) -> Manifest:
    """Write the bundle of ``candidate`` to ``out``, all of it or nothing; the same inputs give the same bytes, unless encrypted.

    Args:
        decision: why this candidate; its limits become the promises.
        candidate: what is shipped; it must have been evaluated.
        artifact_dir: its artefact, with ``artifact.json``.
        contract_rows: the confirm rows; None leaves them out, and quality can then not be re-tested.
        expected: class indices (n,) and probabilities (n, k) the trial gave on those rows.
        out: folder to write; an earlier bundle there is replaced, anything else is refused.
        packages: versions (by module) the trial ran with.
        spec: the specification that was decided under.
        clean: takes personal data out of a row; rows it changes stay behind, because the trial's answer is to the row as it was.
            None: masks as the data were masked when ``risk.personal_data`` is ``mask``, else ships rows as they are.
        report: the HTML report, if it is to travel too.
        members: the candidates an ensemble combines, for where its weights came from.
        seal: who signs and what encrypts; nobody and nothing when None.
        runtime: that loads the artefact, where it is not the candidate's.
        measured_as: format that the trial measured, when the artefact was converted to another one; of a split one it is known.
        whole: the model in one ONNX file (``write_whole``), to travel too; it must answer the contract rows as the trial did.

    Raises:
        BundleError: the folder holds something else, the artefact is altered or unsafe, nothing was measured, or ``risk.encrypt`` asks
            for a key and none was given.

    """
    promises.verdict_of(decision, candidate)
    seal = seal or Seal()
    _refuse(spec, seal, whole, out)
    rows = _rows(contract_rows, expected, clean, spec)
    with workplace.replacing(out) as finished, workplace.plain(finished, _secret_bytes(artifact_dir, seal)) as folder:
        artifact = _copy_model(artifact_dir, folder / "model")
        if artifact.format == FORMAT:  # the trial ran it in one piece
            measured_as = UNSPLIT
        contract = promises.contract(
            decision,
            candidate,
            confidence=spec.decision.confidence,
            threads=spec.measuring.threads,
            rows=len(rows) if rows else 0,
            measured_as=measured_as,
        )
        if whole is not None:
            gate(compare(whole.read_bytes(), artifact, rows, spec.measuring.threads))
            shutil.copyfile(whole, folder / WHOLE)
        _write(folder / "contract.json", contract)
        _write(folder / "decision.json", decision)
        if rows:
            contract_rows_.write(folder / contract_rows_.FILE, rows, artifact.classes)
        if report is not None:
            (folder / "report.html").write_text(report, encoding="utf-8")
        pins = requirements.needed(folder / "model", packages, sealed=seal != Seal())
        manifest = _manifest(decision, candidate, artifact, pins, spec).model_copy(update={
            "formats": provenance.formats(folder / "model"), "weights": provenance.weights([candidate, *members]),
            "contract": sealed.digest(folder / "contract.json"), "measured_as": measured_as,
            **({"runtime": runtime} if runtime else {}),
        })  # fmt: skip
        _surroundings(folder, manifest, contract, decision, pins, seal, example(artifact.transform) if whole else "")
        bill = sbom.document(folder, manifest, contract, pins)
        (folder / sbom.FILE).write_text(bill, encoding="utf-8", newline="\n")
        return sealing.close(folder, manifest, seal)


def _refuse(spec: Spec, seal: Seal, whole: Path | None, out: Path) -> None:
    """Raise where what is asked for cannot be had together."""
    if spec.risk.encrypt and seal.secret is None:
        what = "the specification asks for encryption (risk.encrypt), and no key was given"
        raise BundleError(
            what, where=str(out), try_="--encrypt KEYFILE; bakeoff keygen --encryption -o KEYFILE makes one"
        )
    if whole is not None and seal.secret is not None:
        what = f"{WHOLE} is for those who serve without Bakeoff, and nothing else decrypts a bundle"
        raise BundleError(what, where=str(out), try_="ship without --whole, or without --encrypt")


def _rows(
    examples: Examples | None, expected: Expected | None, clean: Callable[[Row], Row] | None, spec: Spec
) -> ContractRows | None:
    """Return the contract rows that may travel, None when none do."""
    if examples is None or expected is None:
        return None
    if clean is None and spec.risk.personal_data == "mask":
        clean = _masked
    return contract_rows_.gather(examples, expected, clean)


def _secret_bytes(artifact_dir: Path, seal: Seal) -> int | None:
    """Return the bytes that will be encrypted, about; None when nothing will."""
    return None if seal.secret is None else read_artifact(artifact_dir).size


def _masked(row: Row) -> Row:
    return {name: personal.mask(value) if isinstance(value, str) else value for name, value in row.items()}


def _manifest(
    decision: Decision, candidate: Candidate, artifact: Artifact, pins: dict[str, str], spec: Spec
) -> Manifest:
    return Manifest(
        bakeoff=bakeoff.__version__,
        study=decision.study,
        candidate=candidate.id,
        label=candidate.label,
        family=candidate.family,
        runtime=RUNTIME if artifact.format == FORMAT else candidate.runtime,
        task=artifact.task,
        classes=artifact.classes,
        inputs=artifact.inputs,
        files=(),
        licences=artifact.licences,
        packages=pins,
        provenance=provenance.provenance(decision, candidate, artifact, spec),
    )


def _surroundings(
    folder: Path, manifest: Manifest, contract: Contract, decision: Decision, pins: dict[str, str], seal: Seal,
    alone: str,
) -> None:  # fmt: skip
    """Write what surrounds the model: requirements, our wheel, Dockerfile, Kubernetes manifests, README."""
    tag = content_key([entry.model_dump() for entry in sealed.entries(folder / "model")])[:12]
    verdict = next(found for found in decision.candidates if found.id == manifest.candidate)
    replicas = verdict.cost.replicas if verdict.cost and verdict.cost.replicas else 1
    plan = read_plan(read_artifact(folder / "model"), folder / "model") if FORMAT in manifest.formats else None
    sizing = container.Sizing(
        name=container.object_name(manifest.study, tag), tag=tag, python=".".join(platform.python_version_tuple()[:2]),
        threads=contract.threads, memory=_memory(folder, verdict, seal, plan), replicas=max(2, replicas),
        latency=next((promise.limit for promise in contract.promises if promise.name == "latency_p95"), None),
        remote="openai-prompt" in manifest.formats, signed=seal.key is not None, encrypted=seal.secret is not None,
        stages=len(plan.stages) if plan else 1, gate=sum(spans(contract, contract.rows)),
    )  # fmt: skip
    (folder / "wheels").mkdir()
    lock = locks.lock(pins, build_wheel(folder / "wheels"), sizing.python)
    texts = {
        "requirements.txt": requirements.lines(pins),
        "README.md": readme.readme(
            manifest,
            contract,
            sizing.image,
            signed=sizing.signed,
            encrypted=sizing.encrypted,
            unknown=lock.unknown,
            alone=alone,
        ),
        **container.texts(sizing, pins, lock),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _memory(folder: Path, verdict: CandidateVerdict, seal: Seal, plan: ShardPlan | None) -> float | None:
    """Return the bytes one server needs: as measured, and what is decrypted lies in memory once more.

    Of a split model the trial measured the whole in one process. Its server is a process for the front and one a stage: each takes what
    that one took without the graph, and a stage takes what it was measured to add to that.
    """
    measured = verdict.metrics.get("memory")
    found = measured.value if measured else None
    if plan is not None:
        bare = max(_BARE, (found or 0.0) - plan.whole_memory)
        found = (len(plan.stages) + 1) * bare + sum(stage.measured_memory for stage in plan.stages)
    if found is None or seal.secret is None:
        return found
    return found + sum(entry.size for entry in sealed.entries(folder / "model"))


def _copy_model(source: Path, target: Path) -> Artifact:
    """Copy the artefact's listed files, follow links to their content, compare hashes, refuse what could run code."""
    artifact = read_artifact(source)
    target.mkdir()
    for name in ("artifact.json", *(entry.path for entry in artifact.files)):
        path = sealed.contained(target, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source / name, path)
        except OSError as error:
            what = f"a file of the artefact cannot be copied: {error.strerror}"
            raise BundleError(what, where=str(source), got=name, try_="run the study again") from error
        path.chmod(_MODE)
    found = sealed.problems(target, artifact.files, unlisted=("artifact.json",))
    dangers = [danger.words.en for danger in scan(target) if danger.severe]
    if found or dangers:
        what = f"the artefact cannot be shipped: {'; '.join([*found, *dangers][:8])}"
        raise BundleError(what, where=str(source), try_="run the study again: a changed artefact is built anew")
    return artifact


def _write(path: Path, record: Record) -> None:
    path.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8", newline="\n")
