"""Writes the deliverable: one folder with the model, its contract, the proof, and everything to run it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import bakeoff
from bakeoff.data import personal
from bakeoff.data.examples import Examples, Row
from bakeoff.delivery import container, promises, readme, requirements
from bakeoff.delivery import rows as contract_rows_
from bakeoff.delivery.wheel import build_wheel
from bakeoff.risk._files import scan
from bakeoff.runtimes import sealed
from bakeoff.runtimes.loading import read_artifact
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Record, content_key
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.contract import Contract, Manifest
from bakeoff.schema.decision import Decision
from bakeoff.schema.errors import BundleError
from bakeoff.schema.spec import Spec
from bakeoff.tasks.base import positive_class

Expected = tuple[NDArray[Any], NDArray[Any]]
_MODE = 0o644


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
) -> Manifest:
    """Write the bundle of ``candidate`` to ``out``, all of it or nothing; the same inputs give the same bytes.

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

    Raises:
        BundleError: the folder holds something else, the artefact is altered or unsafe, nothing was measured.

    """
    promises.verdict_of(decision, candidate)
    rows = None
    if contract_rows is not None and expected is not None:
        if clean is None and spec.risk.personal_data == "mask":
            clean = _masked
        rows = contract_rows_.gather(contract_rows, expected, clean)
    with _replacing(out) as folder:
        artifact = _copy_model(artifact_dir, folder / "model")
        contract = promises.contract(
            decision,
            candidate,
            confidence=spec.decision.confidence,
            threads=spec.measuring.threads,
            rows=len(rows) if rows else 0,
        )
        _write(folder / "contract.json", contract)
        _write(folder / "decision.json", decision)
        if rows:
            contract_rows_.write(folder / contract_rows_.FILE, rows, artifact.classes)
        if report is not None:
            (folder / "report.html").write_text(report, encoding="utf-8")
        pins = requirements.needed(folder / "model", packages)
        manifest = _manifest(decision, candidate, artifact, pins, spec)
        _surroundings(folder, manifest, contract, decision, pins)
        manifest = manifest.model_copy(update={"files": sealed.entries(folder)})
        _write(folder / sealed.MANIFEST, manifest)
    return manifest


def _masked(row: Row) -> Row:
    return {name: personal.mask(value) if isinstance(value, str) else value for name, value in row.items()}


def _manifest(
    decision: Decision, candidate: Candidate, artifact: Artifact, pins: dict[str, str], spec: Spec
) -> Manifest:
    source, verdict = decision.provenance, promises.verdict_of(decision, candidate)
    return Manifest(
        bakeoff=bakeoff.__version__,
        study=decision.study,
        candidate=candidate.id,
        label=candidate.label,
        family=candidate.family,
        runtime=candidate.runtime,
        task=artifact.task,
        classes=artifact.classes,
        inputs=artifact.inputs,
        files=(),
        licences=artifact.licences,
        packages=pins,
        provenance={
            "spec_key": source.spec_key,
            "data": source.data,
            "file_sha256": source.file_sha256,
            "seed": source.seed,
            "outcome": decision.outcome,
            "recommended": decision.recommended.id if decision.recommended else None,
            "positive": positive_class(spec, artifact.classes, decision.profile.class_counts),
            "trial": {name: metric.value for name, metric in sorted(verdict.metrics.items())},
        },
    )


def _surroundings(
    folder: Path, manifest: Manifest, contract: Contract, decision: Decision, pins: dict[str, str]
) -> None:
    """Write what surrounds the model: requirements, our wheel, Dockerfile, Kubernetes manifests, README."""
    tag = content_key([entry.model_dump() for entry in sealed.entries(folder / "model")])[:12]
    verdict = next(found for found in decision.candidates if found.id == manifest.candidate)
    memory = verdict.metrics.get("memory")
    replicas = verdict.cost.replicas if verdict.cost and verdict.cost.replicas else 1
    sizing = container.Sizing(
        name=container.object_name(manifest.study, tag), tag=tag, python=".".join(platform.python_version_tuple()[:2]),
        threads=contract.threads, memory=memory.value if memory else None, replicas=max(2, replicas),
    )  # fmt: skip
    (folder / "wheels").mkdir()
    build_wheel(folder / "wheels")
    texts = {
        "requirements.txt": requirements.lines(pins),
        "Dockerfile": container.dockerfile(sizing, pins),
        "README.md": readme.readme(manifest, contract, f"{sizing.name}:{tag}"),
        **{f"kubernetes/{name}": text for name, text in container.kubernetes(sizing).items()},
    }
    (folder / "kubernetes").mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


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


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``out`` that takes its place when everything went well, and vanishes otherwise."""
    _may_replace(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        what = f"the bundle cannot be written there: {error.strerror}"
        raise BundleError(what, where=str(out), try_="another folder") from error
    try:
        folder.chmod(0o755)
        yield folder
        _sync(folder)
        _swap(folder, out)
    except OSError as error:
        what = f"the bundle could not be written: {error.strerror}"
        raise BundleError(what, where=str(out)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _may_replace(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        what = "there is a file or a link at this place, not a folder"
        raise BundleError(what, where=str(out), try_="another folder")
    if out.is_dir() and any(out.iterdir()):
        try:
            sealed.read_manifest(out)
        except BundleError:
            what = "the folder holds something that is not a bundle; it is left alone"
            raise BundleError(what, where=str(out), try_="an empty or a new folder") from None


def _swap(folder: Path, out: Path) -> None:
    old = folder.with_name(f"{folder.name}.old")
    if out.exists():
        out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(_MODE)
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
