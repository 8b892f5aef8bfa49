"""Artefacts are complete or not there, hold nothing that runs code, and count shared bytes once."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bakeoff.schema import Artifact, InputColumn, Rule, StepError, StudyError
from bakeoff.store.artifacts import ARTIFACT_FILE, ArtifactStore, link_or_copy, read_artifact, write_artifact

ARTIFACT = Artifact(
    format="constant",
    task="text-classification",
    classes=("a", "b"),
    inputs=(InputColumn(name="text", kind="text"),),
    rule=Rule(temperature=2),
)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def built(store: ArtifactStore, key: str, content: bytes = b"weights") -> Path:
    partial = store.begin(key)
    (partial / "deep").mkdir()
    (partial / "deep" / "w.bin").write_bytes(content)
    write_artifact(partial, ARTIFACT)
    return store.commit(partial, key)


def test_what_is_written_is_read_back_with_hashes(store: ArtifactStore) -> None:
    directory = built(store, "k")
    found = read_artifact(directory)
    assert found.model_copy(update={"files": ()}) == ARTIFACT
    assert [(entry.path, entry.size) for entry in found.files] == [("deep/w.bin", 7)]
    assert store.has("k")
    assert store.keys() == ("k",)


def test_nothing_is_there_before_the_commit_and_the_old_one_until_then(store: ArtifactStore) -> None:
    partial = store.begin("k")
    (partial / ARTIFACT_FILE).write_text("{}")
    assert not store.has("k")
    assert store.keys() == ()
    built(store, "k", b"first")
    built(store, "k", b"second")
    assert (store.path("k") / "deep" / "w.bin").read_bytes() == b"second"
    store.remove("k")
    assert not store.has("k")
    store.remove("k")


def test_only_what_dead_processes_left_is_swept(store: ArtifactStore) -> None:
    mine = store.begin("mine")
    pid = os.fork()
    if pid == 0:
        ArtifactStore(store.directory).begin("theirs")
        os._exit(0)
    os.waitpid(pid, 0)
    built(store, "k")
    assert store.sweep() == 1
    assert mine.is_dir()
    assert store.has("k")
    assert ArtifactStore(store.directory / "none").sweep() == 0


def test_hard_links_take_no_space_and_are_counted_once(store: ArtifactStore, tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"w" * 10_000)
    for key in ("one", "two"):
        partial = store.begin(key)
        link_or_copy(weights, partial / "w.bin")
        store.commit(partial, key)
    assert (store.path("one") / "w.bin").stat().st_ino == (store.path("two") / "w.bin").stat().st_ino
    assert store.disk_usage() == 10_000


def test_linking_falls_back_to_copying(store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    (tmp_path / "w").write_bytes(b"w")
    monkeypatch.setattr("bakeoff.store.artifacts.os.link", refused)
    link_or_copy(tmp_path / "w", tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == b"w"


@pytest.mark.parametrize("content", ["", "{", '{"format": 1}'])
def test_a_damaged_description_is_an_error_with_a_way_out(store: ArtifactStore, content: str) -> None:
    directory = built(store, "k")
    (directory / ARTIFACT_FILE).write_text(content)
    with pytest.raises(StudyError, match="malformed"):
        read_artifact(directory)
    with pytest.raises(StudyError, match="not there"):
        read_artifact(store.path("other"))


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def saved(save: object, *arrays: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **options)  # type: ignore[operator]
    return buffer.getvalue()


OBJECTS = np.array([{"a": 1}], dtype=object)
DANGEROUS = {
    "model.pkl": b"anything",
    "model.joblib": b"anything",
    "MODEL.PKL": b"anything",
    "weights.bin": pickle.dumps({"a": 1}),
    "weights.pt": zipped("archive/data.pkl", pickle.dumps([1])),
    "renamed.dat": zipped("data", pickle.dumps([1], protocol=2)),
    "objects.npy": saved(np.save, OBJECTS, allow_pickle=True),
    "objects.npz": saved(np.savez, allow_pickle=True, a=OBJECTS),
}
HARMLESS = {
    "a.json": json.dumps({"a": 1}).encode(),
    "a.npz": saved(np.savez_compressed, a=np.arange(5.0), text=np.array(["x", "y"])),
    "a.npy": saved(np.save, np.arange(3)),
    "a.safetensors": b"\x80\x02\x00\x00\x00\x00\x00\x00" + b" " * 640 + b".",
    "a.onnx": b"\x08\x07",
    "a.bin": b"\x80\x04 starts like a pickle, does not end like one",
    "empty.txt": b"",
    "model.txt": b"tree\nversion=v4\n",
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_files_that_run_code_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DANGEROUS[name])
    with pytest.raises(StepError, match="run code") as caught:
        write_artifact(tmp_path, ARTIFACT)
    assert caught.value.code == "unsafe"
    assert name in str(caught.value)


@pytest.mark.parametrize("name", HARMLESS)
def test_plain_formats_are_accepted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HARMLESS[name])
    assert [entry.path for entry in write_artifact(tmp_path, ARTIFACT).files] == [name]


def test_links_out_of_an_artefact_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("/etc/hostname")
    with pytest.raises(StepError, match="plain files only"):
        write_artifact(tmp_path, ARTIFACT)
    (tmp_path / "link.json").unlink()
    (tmp_path / "folder").symlink_to("/etc")
    with pytest.raises(StepError, match="plain files only"):
        write_artifact(tmp_path, ARTIFACT)
