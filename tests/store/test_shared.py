"""Artefacts that machines share: fetched when missing, refused when damaged or unsafe, made again then."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from bakeoff.schema import Artifact, InputColumn, StudyError
from bakeoff.store.artifacts import ARTIFACT_FILE, read_artifact, write_artifact
from bakeoff.store.objects import DamagedError, Objects
from bakeoff.store.shared import SharedArtifacts, fetch_data, share_data

ARTIFACT = Artifact(
    format="constant", task="text-classification", classes=("a", "b"), inputs=(InputColumn(name="text", kind="text"),)
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


@pytest.fixture
def here(tmp_path: Path, place: Path) -> SharedArtifacts:
    return SharedArtifacts(tmp_path / "here", Objects(f"file://{place}"))


@pytest.fixture
def there(tmp_path: Path, place: Path) -> SharedArtifacts:
    return SharedArtifacts(tmp_path / "there", Objects(f"file://{place}"))


def built(store: SharedArtifacts, key: str, content: bytes = b"weights") -> Path:
    partial = store.begin(key)
    (partial / "deep").mkdir()
    (partial / "deep" / "w.bin").write_bytes(content)
    write_artifact(partial, ARTIFACT)
    return store.commit(partial, key)


def test_what_one_machine_made_another_has(here: SharedArtifacts, there: SharedArtifacts) -> None:
    built(here, "k")
    assert not there.obtain("k")
    here.share("k")
    assert not there.has("k")
    assert there.obtain("k")
    assert (there.path("k") / "deep" / "w.bin").read_bytes() == b"weights"
    assert read_artifact(there.path("k")) == read_artifact(here.path("k"))
    assert there.keys() == ("k",)
    assert [path.name for path in there.directory.iterdir()] == ["k"]


def test_what_could_not_be_shared_is_shared_later(here: SharedArtifacts, there: SharedArtifacts) -> None:
    for key in ("a", "b", "c"):
        built(here, key, key.encode())
    here.share("b")
    here.begin("half-done")
    assert here.share_all() == 2
    assert here.share_all() == 0
    assert all(there.obtain(key) for key in ("a", "b", "c"))
    assert not there.obtain("half-done")


def test_an_artefact_made_anew_replaces_the_shared_one(here: SharedArtifacts, there: SharedArtifacts) -> None:
    built(here, "k", b"first")
    here.share("k")
    built(here, "k", b"second")
    here.share("k")
    assert there.obtain("k")
    assert (there.path("k") / "deep" / "w.bin").read_bytes() == b"second"


def test_one_made_anew_that_could_not_be_shared_is_shared_later(here: SharedArtifacts, there: SharedArtifacts) -> None:
    for content in (b"first", b"second"):
        built(here, "k", content)
        (here.path("k") / "deep-er.bin").write_bytes(b"sorted before the folder's files, or after them")
        write_artifact(here.path("k"), ARTIFACT)
        if content == b"first":
            here.share("k")
            assert here.share_all() == 0
    assert here.share_all() == 1
    assert here.share_all() == 0
    assert there.obtain("k")
    assert (there.path("k") / "deep" / "w.bin").read_bytes() == b"second"


def test_a_damaged_one_is_as_none_and_mended_by_making_it_again(
    here: SharedArtifacts, there: SharedArtifacts, place: Path
) -> None:
    built(here, "k", b"w" * 10000)
    here.share("k")
    (large,) = [path for path in (place / "objects").rglob("*") if path.is_file() and path.stat().st_size == 10000]
    large.write_bytes(b"v" + b"w" * 9999)
    with pytest.raises(DamagedError, match="damaged"):
        there.fetch("k")
    assert not there.obtain("k")
    assert not list(there.directory.iterdir())
    built(there, "k", b"w" * 10000)
    there.share("k")
    here.remove("k")
    assert here.obtain("k")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.pkl", b"x"),
        ("weights.bin", pickle.dumps({"a": 1})),
        ("unlisted.txt", b"more"),
        ("deep/w.bin", b"longer"),
    ],
)
def test_what_could_run_code_or_is_not_in_the_description_is_refused(
    here: SharedArtifacts, there: SharedArtifacts, name: str, content: bytes
) -> None:
    """Whoever may write to the shared place cannot smuggle a file in."""
    (built(here, "k") / name).write_bytes(content)
    here.share("k")
    with pytest.raises(DamagedError, match=r"run code|not what its own description says"):
        there.fetch("k")
    assert not there.obtain("k")


def test_a_folder_without_a_description_is_none(here: SharedArtifacts, there: SharedArtifacts) -> None:
    (built(here, "k") / ARTIFACT_FILE).write_text("{")
    here.share("k")
    assert not there.obtain("k")


def test_a_place_that_cannot_be_reached_stops_the_run_instead_of_building_everything_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bakeoff.store.objects._PAUSE", 0.0)
    store = SharedArtifacts(tmp_path / "here", Objects(f"file://{tmp_path / 'place'}"))

    def unreachable(*args: object, **more: object) -> bytes:
        raise OSError("no route to host")

    monkeypatch.setattr(type(store.objects._files), "cat_file", unreachable)
    with pytest.raises(StudyError, match="no route to host"):
        store.obtain("k")


def test_frozen_data_are_shared_once_and_fetched_by_fingerprint(tmp_path: Path, place: Path) -> None:
    objects, ours, theirs = Objects(f"file://{place}"), tmp_path / "ours", tmp_path / "theirs"
    for name in ("one", "two"):
        (ours / name).mkdir(parents=True)
        (ours / name / "frozen.json").write_text(f'{{"fingerprint": "finger-{name}"}}')
        (ours / name / "rows.npz").write_bytes(name.encode())
        (ours / name / "complete").touch()
    share_data(objects, ours, "finger-two")
    share_data(objects, ours, "finger-two")
    assert objects.names("data") == ("finger-two",)
    fetch_data(objects, theirs, "finger-two")
    fetch_data(objects, theirs, "finger-one")
    assert [path.name for path in theirs.iterdir()] == ["finger-two"]
    assert (theirs / "finger-two" / "rows.npz").read_bytes() == b"two"
    assert (theirs / "finger-two" / "complete").exists()
