"""Folders by content: what can be found is complete, what comes down is what went up, damage is refused and mended."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bakeoff.schema import StudyError
from bakeoff.schema.errors import UnavailableError
from bakeoff.store import objects as module
from bakeoff.store.objects import DamagedError, Objects, without_password

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(params=["file", "path", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = tmp_path / "place with space"
    return {"file": f"file://{place}", "path": str(place), "memory": f"memory://{secrets.token_hex(8)}"}[request.param]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Objects]:
    return Objects(f"file://{tmp_path / 'place'}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "deep" / "er").mkdir(parents=True)
    (made / "a.bin").write_bytes(os.urandom(3_000_000))
    (made / "deep" / "er" / "b.txt").write_text("二", encoding="utf-8")
    (made / "empty").touch()
    (made / "again.bin").write_bytes((made / "a.bin").read_bytes())
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(objects: Objects) -> list[Path]:
    root = Path(str(objects.url).removeprefix("file://"))
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_a_folder_comes_back_as_it_was(url: str, folder: Path, tmp_path: Path) -> None:
    key = Objects(url).put_folder(folder)
    again = Objects(url).get_folder(key, tmp_path / "out" / "of" / "it")
    assert content(again) == content(folder)
    assert not list(again.parent.glob(".*"))


def test_the_key_is_the_content_wherever_it_lies(url: str, folder: Path, tmp_path: Path) -> None:
    key = Objects(url).put_folder(folder)
    assert Objects(f"memory://{secrets.token_hex(8)}").put_folder(folder.rename(tmp_path / "moved")) == key
    (tmp_path / "moved" / "empty").write_text("no more")
    assert Objects(url).put_folder(tmp_path / "moved") != key


def test_a_name_means_the_folder_it_was_given_last(url: str, folder: Path) -> None:
    objects = Objects(url)
    assert objects.named("artifacts/one") is None
    assert objects.names("artifacts") == ()
    first = objects.put_folder(folder)
    objects.name("artifacts/one", first)
    objects.name("artifacts/two", first)
    (folder / "empty").write_text("changed")
    second = objects.put_folder(folder)
    objects.name("artifacts/one", second)
    assert [Objects(url).named(f"artifacts/{name}") for name in ("one", "two")] == [second, first]
    assert Objects(url).names("artifacts") == ("one", "two")


def test_what_is_there_is_not_sent_again_and_equal_files_are_kept_once(disk: Objects, folder: Path) -> None:
    disk.put_folder(folder)
    before = {path: path.stat().st_ino for path in stored(disk)}
    assert len(before) == 4  # three contents and the list of the folder
    disk.put_folder(folder)
    assert {path: path.stat().st_ino for path in stored(disk)} == before


def test_uploads_at_once_do_not_disturb_each_other(folder: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'place'}"  # in memory, readers of one file share its position: that is fsspec's
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: Objects(url).put_folder(folder), range(16)))
        assert len(keys) == 1
        got = list(pool.map(lambda _: Objects(url).get_folder(next(iter(keys)), tmp_path / "got"), range(8)))
    assert set(got) == {tmp_path / "got"}
    assert content(tmp_path / "got") == content(folder)


def test_nothing_is_found_of_an_upload_that_was_cut_off(
    disk: Objects, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever write fails: the name means nothing yet, and a second upload finds its way."""
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.setattr(module, "_TRIES", 1)
    move, done = type(disk._files).mv, []
    for allowed in range(5):  # three contents, the list, the name
        place = Objects(f"file://{tmp_path / f'place{allowed}'}")

        def failing(self: object, source: str, target: str, allowed: int = allowed, **more: object) -> None:
            if len(done) >= allowed:
                raise OSError("the connection was reset")
            done.append(target)
            move(self, source, target, **more)

        done.clear()
        with monkeypatch.context() as patched:
            patched.setattr(type(disk._files), "mv", failing)
            with pytest.raises(StudyError, match="connection was reset"):
                place.name("it", place.put_folder(folder))
        assert place.named("it") is None
        assert not [path for path in stored(place) if path.name.endswith(".partial")]
        place.name("it", place.put_folder(folder))
        assert content(place.get_folder(str(place.named("it")), tmp_path / f"out{allowed}")) == content(folder)


def test_a_file_system_that_does_not_rename_onto_a_file_serves_too(
    disk: Objects, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = type(disk._files).mv

    def careful(self: object, source: str, target: str, **more: object) -> None:
        if Path(target).exists():
            raise FileExistsError(target)
        move(self, source, target, **more)

    monkeypatch.setattr(type(disk._files), "mv", careful)
    disk.name("it", "0" * 64)
    key = disk.put_folder(folder)
    disk.name("it", key)
    assert disk.named("it") == key


def test_a_torn_object_is_sent_again(disk: Objects, folder: Path, tmp_path: Path) -> None:
    key = disk.put_folder(folder)
    largest = max(stored(disk), key=lambda path: path.stat().st_size)
    os.truncate(largest, 1000)
    disk.put_folder(folder)
    assert content(disk.get_folder(key, tmp_path / "out")) == content(folder)


def test_any_flipped_bit_is_refused_then_mended_by_the_next_upload(disk: Objects, folder: Path, tmp_path: Path) -> None:
    key = disk.put_folder(folder)
    damaged = [path for path in stored(disk) if path.stat().st_size]
    assert len(damaged) == 3
    for number, path in enumerate(damaged):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(StudyError, match="damaged"):
            disk.get_folder(key, tmp_path / f"out{number}")
        assert not list(tmp_path.glob(f"*out{number}*"))
        assert disk.put_folder(folder) == key
        assert content(disk.get_folder(key, tmp_path / f"out{number}")) == content(folder)


def test_a_missing_file_is_said(disk: Objects, folder: Path, tmp_path: Path) -> None:
    key = disk.put_folder(folder)
    max(stored(disk), key=lambda path: path.stat().st_size).unlink()
    with pytest.raises(StudyError, match=r"missing; got 'a.*\.bin'"):
        disk.get_folder(key, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(StudyError, match="missing"):
        disk.listing("0" * 64)


def test_a_connection_that_fails_sometimes_is_tried_again(
    disk: Objects, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    fails = {
        name: iter([True, True, False] * 100) for name in ("info", "put_file", "pipe_file", "get_file", "cat_file")
    }
    for name, failing in fails.items():
        real = getattr(type(disk._files), name)

        def sometimes(*args: object, real: object = real, failing: Iterator[bool] = failing, **more: object) -> object:
            if next(failing):
                raise ConnectionError("reset by peer")
            return real(*args, **more)

        monkeypatch.setattr(type(disk._files), name, sometimes)
    key = disk.put_folder(folder)
    disk.name("it", key)
    assert disk.named("it") == key
    assert content(disk.get_folder(key, tmp_path / "out")) == content(folder)


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b", "a\\b", "C:/a", "", "a\0b"])
def test_a_list_that_leads_outside_is_refused(disk: Objects, tmp_path: Path, path: str) -> None:
    text = module.canonical(
        module.FolderList(files=(module.FileEntry(path=path, sha256=hashlib.sha256(b"").hexdigest(), size=0),))
    ).encode()
    key = hashlib.sha256(text).hexdigest()
    disk._put_bytes(disk._object(key), text)
    with pytest.raises(StudyError, match="outside of itself"):
        disk.get_folder(key, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "out").exists()


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (("a", "a/b"), "as a file and as a folder"), (("a/b/c", "a"), "as a file and as a folder"), (("a", "a"), "twice"),
        (("a/b", "a//b"), "twice"), (("a", "./a"), "twice"), (("a", "n" * 300), "cannot be here"),
        (("a", "/".join(["d" * 200] * 30)), "cannot be here"),
    ],
)  # fmt: skip
def test_a_list_that_no_folder_can_be_counts_as_damaged(
    disk: Objects, tmp_path: Path, paths: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_text("x")
    entry = disk.listing(disk.put_folder(tmp_path / "one")).files[0]
    text = module.canonical(
        module.FolderList(files=tuple(entry.model_copy(update={"path": path}) for path in paths))
    ).encode()
    key = hashlib.sha256(text).hexdigest()
    disk._put_bytes(disk._object(key), text)
    with pytest.raises(DamagedError, match=reason):
        disk.get_folder(key, tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_what_is_stored_of_a_file_is_a_file(disk: Objects, tmp_path: Path) -> None:
    for sha256, reason in (("f" * 64, "damaged"), ("../" * 9 + "etc/hostname", "nothing is stored")):
        text = module.canonical(
            module.FolderList(files=(module.FileEntry(path="a", sha256=sha256, size=4096),))
        ).encode()
        key = hashlib.sha256(text).hexdigest()
        disk._put_bytes(disk._object(key), text)
        Path(disk._object("f" * 64)).mkdir(parents=True, exist_ok=True)
        with pytest.raises(DamagedError, match=reason):
            disk.get_folder(key, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_said(disk: Objects, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StudyError, match="could not be put in place"):
        disk.get_folder(disk.put_folder(folder), tmp_path / "file" / "out")


def test_links_are_not_stored(disk: Objects, folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(StudyError, match="only plain files"):
        disk.put_folder(folder)


@pytest.mark.parametrize("name", ["", "../x", "a/../b", "/a", "a//b", "a b", ".hidden", "a/.."])
def test_names_stay_in_their_place(disk: Objects, name: str) -> None:
    with pytest.raises(StudyError, match="not a name"):
        disk.name(name, "0" * 64)


def test_a_name_that_was_copied_or_torn_means_nothing(disk: Objects, folder: Path) -> None:
    disk.name("a", disk.put_folder(folder))
    (one,) = [path for path in stored(disk) if path.name == "a.json"]
    one.with_name("b.json").write_bytes(one.read_bytes())
    assert disk.named("b") is None
    os.truncate(one, 20)
    assert disk.named("a") is None


def test_a_place_that_cannot_be_written_says_so_at_once(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StudyError, match="cannot be used"):
        Objects(f"file://{tmp_path / 'file' / 'below'}").put_folder(folder)


def test_a_bucket_that_is_not_there_is_said_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects("memory://nowhere")

    def no_bucket(*args: object, **more: object) -> None:
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(type(objects._files), "put_file", no_bucket)
    with pytest.raises(StudyError, match="bucket does not exist"):
        objects.put_folder(folder)


def test_unknown_addresses_are_a_users_mistake_and_show_no_password() -> None:
    with pytest.raises(StudyError, match="not an address") as caught:
        Objects("nonsense://me:hunter2@host/x")
    assert "hunter2" not in str(caught.value)
    assert without_password("sftp://me:hunter2@host:22/x?a=b") == "sftp://me@host:22/x?a=b"


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(UnavailableError, match="s3fs"):
        Objects("s3://bucket/prefix")
