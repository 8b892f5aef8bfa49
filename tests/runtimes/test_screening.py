"""Traps in files whose hashes are right: each is refused before a library allocates or unpacks what it declares."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.runtimes import _onnx_sizes, screening
from bakeoff.runtimes.screening import screen
from bakeoff.schema.errors import BundleError


def npz(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def npy(shape: tuple[int, ...], body: bytes = b"", descr: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + body


def tensors(path: Path, header: Any, body: bytes = b"", length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def one(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


def test_sound_files_pass(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 4)), y=np.array(5), z=np.array(["é"]), empty=np.zeros((0, 3)))
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros(1_000_000))
    tensors(tmp_path / "c.safetensors", one() | {"e": {"dtype": "F16", "shape": [0], "data_offsets": [8, 8]}}, bytes(8))
    tensors(tmp_path / "d.safetensors", {"__metadata__": {"format": "pt"}} | one(), bytes(8))
    (tmp_path / "e.gguf").write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1, 2) + bytes(100))
    (tmp_path / "f.json").write_text("{}")
    (tmp_path / "g.bin").write_bytes(b"anything")
    with zipfile.ZipFile(tmp_path / "h.whl", "w") as archive:
        archive.writestr("a", "b")
    for path in tmp_path.iterdir():
        screen(path, path.name)


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
        stream.write(npy(((70 << 20) // 8,)))
        for _ in range(70):
            stream.write(bytes(1 << 20))


def _twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy((1,), bytes(8)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", npy((1,), bytes(8)))


def _spoilt(path: Path, method: int) -> None:
    """Overwrite what an archive's member is packed in; the directory at the end stays right."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", npy((100,), bytes(800)))
        size = archive.infolist()[0].compress_size
    with path.open("r+b") as stream:
        stream.seek(30 + len("x.npy"))
        stream.write(b"\xff" * size)


def _flagged(path: Path, bits: int) -> None:
    """Say that the member is encrypted."""
    npz(path, x=npy((1,), bytes(8)))
    content = path.read_bytes()
    for mark, after in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(mark) + after
        content = content[:at] + bytes([content[at] | bits]) + content[at + 1 :]
    path.write_bytes(content)


def _many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(screening._MEMBERS + 1):
            archive.writestr(str(number), b"")


TRAPS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "array of a terabyte": ("a.npz", lambda p: npz(p, x=npy((1 << 37,), bytes(8))), "another size"),
    "array of no bytes": ("a.npz", lambda p: npz(p, x=npy((3,))), "another size"),
    "negative array": ("a.npz", lambda p: npz(p, x=npy((-1,), bytes(8))), "another size"),
    "object array": ("a.npz", lambda p: npz(p, x=npy((1,), b"cos\nsystem\n.", "|O")), "pickle"),
    "object in a record": ("a.npz", lambda p: npz(p, x=npy((1,), b"x", "|O8")), "pickle"),
    "no array": ("a.npz", lambda p: npz(p, x=b"import os"), "damaged"),
    "code for a header": ("a.npz", lambda p: npz(p, x=b"\x93NUMPY\x01\x00\x10\x00__import__('os')"), "damaged"),
    "bomb": ("a.npz", _bomb, "far more than its size"),
    "bomb in a wheel": ("a.whl", _bomb, "far more than its size"),
    "member twice": ("a.npz", _twice, "a member twice"),
    "many members": ("a.whl", _many, "too many members"),
    "bomb by another name": ("weights.dat", _bomb, "far more than its size"),
    "array of a terabyte by another name": ("weights.dat", lambda p: npz(p, x=npy((1 << 37,), bytes(8))), "another size"),
    "one array by another name": ("weights.dat", lambda p: p.write_bytes(npy((1 << 37,), bytes(8))), "not named like one"),
    "language model by another name": ("a.bin", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1 << 40, 1)), "more entries"),
    "broken stream": ("a.npz", lambda p: _spoilt(p, zipfile.ZIP_DEFLATED), "damaged"),
    "broken lzma stream": ("a.npz", lambda p: _spoilt(p, zipfile.ZIP_LZMA), "damaged"),
    "encrypted member": ("a.npz", lambda p: _flagged(p, 1), "damaged"),
    "unfinished code for a header": ("a.npz", lambda p: npz(p, x=b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((("), "damaged"),
    "header is a text": ("a.safetensors", lambda p: tensors(p, b'"abc"'), "damaged"),
    "tensor of no offsets": ("a.safetensors", lambda p: tensors(p, one(data_offsets=[])), "damaged"),
    "tensor is a number": ("a.safetensors", lambda p: tensors(p, {"w": 1}), "damaged"),
    "no archive": ("a.npz", lambda p: p.write_bytes(b"PK\x03\x04"), "damaged"),
    "header of 2^63 bytes": ("a.safetensors", lambda p: tensors(p, one(), bytes(8), 1 << 63), "larger than it can be"),
    "header beyond the end": ("a.safetensors", lambda p: tensors(p, one(), bytes(8), 1000), "larger than it can be"),
    "header of 33 MiB": ("a.safetensors", lambda p: tensors(p, b" " * (33 << 20)), "larger than it can be"),
    "header of lists": ("a.safetensors", lambda p: tensors(p, b"[" * 200_000), "damaged"),
    "header is no object": ("a.safetensors", lambda p: tensors(p, b"[]"), "damaged"),
    "tensor beyond the end": ("a.safetensors", lambda p: tensors(p, one(data_offsets=[0, 1 << 60]), bytes(8)), "do not fill"),
    "tensor of another size": ("a.safetensors", lambda p: tensors(p, one(shape=[1 << 40]), bytes(8)), "do not fill"),
    "unknown type": ("a.safetensors", lambda p: tensors(p, one(dtype="F3"), bytes(8)), "damaged"),
    "hole between tensors": ("a.safetensors", lambda p: tensors(p, one(data_offsets=[4, 12]), bytes(12)), "do not fill"),
    "bytes at the end": ("a.safetensors", lambda p: tensors(p, one(), bytes(9)), "do not fill"),
    "empty": ("a.safetensors", lambda p: p.write_bytes(b""), "damaged"),
    "other format": ("a.gguf", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGML", 3, 1, 1)), "no GGUF"),
    "other version": ("a.gguf", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGUF", 9, 1, 1)), "no GGUF"),
    "tensors without end": ("a.gguf", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1 << 40, 1)), "more entries"),
    "keys without end": ("a.gguf", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1, 2**64 - 1)), "more entries"),
    "cut": ("a.gguf", lambda p: p.write_bytes(b"GGUF"), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_traps_are_refused_and_cost_nothing(tmp_path: Path, trap: str) -> None:
    name, make, said = TRAPS[trap]
    make(tmp_path / name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match=said) as caught:
        screen(tmp_path / name, "model/that")
    assert "model/that" in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_a_huge_text_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(BundleError, match="too large"):
        screen(tmp_path / "tokenizer.json", "tokenizer.json")


def graph(path: Path, nodes: list[Any], *, functions: int = 0, called: str = "Neg", **constants: Any) -> None:
    """Write a model of these nodes; ``constants`` are initializers by name. Of the functions each calls the one before, the first ``called``."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    made = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    value = helper.make_tensor_value_info("y", 1, None)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    called = [
        helper.make_function(
            "f", f"f{level}", ["x"], ["y"],
            [helper.make_node(f"f{level - 1}" if level else called, [one], [two], domain="f" if level else "") for one, two in ("xz", "zy")],
            opsets,
        )
        for level in range(functions)
    ]  # fmt: skip
    body = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, None)], [value], made)
    path.write_bytes(helper.make_model(body, opset_imports=opsets, functions=called).SerializeToString())


def node(operator: str, *inputs: str, to: str = "y", **attributes: Any) -> Any:
    return pytest.importorskip("onnx").helper.make_node(operator, list(inputs), [to], **attributes)


def constant(value: Any, name: str) -> Any:
    onnx = pytest.importorskip("onnx")
    return onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(value)))


def branch(*nodes: Any) -> Any:
    onnx = pytest.importorskip("onnx")
    truth = constant(True, "truth")
    body = onnx.helper.make_graph(list(nodes), "b", [], [onnx.helper.make_tensor_value_info("y", 1, None)])
    return [truth, onnx.helper.make_node("If", ["truth"], ["y"], then_branch=body, else_branch=body)]


def sparse(size: int) -> Any:
    onnx = pytest.importorskip("onnx")
    values, places = (onnx.numpy_helper.from_array(np.ones(1, kind), "v") for kind in (np.float32, np.int64))
    return onnx.helper.make_sparse_tensor(values, places, [size])


def hollow(size: int) -> Any:
    onnx = pytest.importorskip("onnx")
    return onnx.TensorProto(dims=[size], data_type=1, raw_data=b"1234", name="t")


HUGE = 80_000_000
BOMBS: dict[str, Callable[[Path], None]] = {
    "filled": lambda p: graph(p, [node("ConstantOfShape", "s")], s=[HUGE]),
    "filled by a node's constant": lambda p: graph(p, [node("ConstantOfShape", "s"), constant([HUGE], "s")]),
    "filled by a node's numbers": lambda p: graph(
        p, [node("ConstantOfShape", "s"), pytest.importorskip("onnx").helper.make_node("Constant", [], ["s"], value_ints=[HUGE])]
    ),
    "filled in a branch": lambda p: graph(p, branch(node("ConstantOfShape", "s")), s=[HUGE]),
    "filled in a branch of a branch": lambda p: graph(p, branch(*branch(constant([HUGE], "s"), node("ConstantOfShape", "s")))),
    "many that are small": lambda p: graph(p, [node("ConstantOfShape", "s")] * 100, s=[1000, 1000]),
    "expanded": lambda p: graph(p, [node("Expand", "x", "s")], s=[4, HUGE]),
    "tiled": lambda p: graph(p, [node("Tile", "c", "s")], c=np.zeros((1, 100), np.float32), s=[1, HUGE // 100]),
    "counted": lambda p: graph(p, [node("Range", "a", "b", "c")], a=0.0, b=float(HUGE), c=0.5),
    "resized": lambda p: graph(p, [node("Resize", "x", "", "", "s")], s=[1, 1, 10_000, 10_000]),
    "scaled": lambda p: graph(p, [node("Resize", "x", "", "s")], s=np.array([1, 1, 1e4, 1e4], np.float32)),
    "padded": lambda p: graph(p, [node("Pad", "c", "s")], c=np.zeros((5, 5)), s=[0, 5000, 1000, HUGE // 1000]),
    "one hot": lambda p: graph(p, [node("OneHot", "x", "d", "v")], d=[HUGE], v=[0.0, 1.0]),
    "random": lambda p: graph(p, [node("RandomNormal", shape=[HUGE])]),
    "sparse": lambda p: graph(p, [node("Constant", sparse_value=sparse(HUGE))]),
    "hollow": lambda p: graph(p, [node("Constant", value=hollow(HUGE))]),
    "behind another node": lambda p: graph(p, [node("Identity", "s", to="t"), node("ConstantOfShape", "t")], s=[HUGE]),
    "put together": lambda p: graph(p, [node("Concat", "s", "s", to="t", axis=0), node("ConstantOfShape", "t")], s=[9000]),
    "in a function": lambda p: graph(p, [node("f9", "s", domain="f")], called="ConstantOfShape", functions=10, s=[HUGE]),
    "many of a small one": lambda p: graph(
        p, [node("ConstantOfShape", "s", to="x"), *[node("Expand", "x", "t")] * 100], s=[1], t=[1000, 1000]
    ),
    "without end": lambda p: graph(p, [node("Range", "a", "b", "c")], a=0.0, b=float("inf"), c=1.0),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_graphs_that_say_how_large_they_become_are_refused(tmp_path: Path, bomb: str) -> None:
    BOMBS[bomb](tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size < 20_000
    with pytest.raises(BundleError, match="far larger than its size"):
        screen(tmp_path / "model.onnx", "model/that")


def test_sound_graphs_pass(tmp_path: Path) -> None:
    """What is small, what is as large in the file, what only the rows tell."""
    weights = np.zeros((3_000, 3_000), np.float32)
    filled = [node("ConstantOfShape", "s"), node("Tile", "c", "r"), node("Pad", "x", "p"), node("Range", "a", "b", "c")]
    graph(tmp_path / "a.onnx", filled, s=[1, 1, 1000, 1000], c=np.zeros(10), r=[100], p=[1, 1, 1, 1], a=0, b=10)
    graph(tmp_path / "b.onnx", [node("Expand", "w", "s"), *branch(node("Identity", "w"))], w=weights, s=[3_000, 3_000])
    graph(tmp_path / "c.onnx", [node("Expand", "x", "s"), node("ConstantOfShape", "x"), node("Range", "x", "x", "x")])
    graph(tmp_path / "d.onnx", [node("f3", "x", domain="f")], functions=4)
    graph(
        tmp_path / "e.onnx",
        [node("Constant", sparse_value=sparse(1000)), node("OneHot", "x", "d", "v")],
        d=[9],
        v=[0, 1],
    )
    masks = [node("Expand", "x", "s")] * 12  # each made from rows, and gone before the next
    graph(tmp_path / "f.onnx", masks, s=[1, 12, 1000, 1000])
    for path in tmp_path.iterdir():
        screen(path, path.name)


def test_weights_beside_a_graph_count(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    graph(path, [node("Expand", "w", "s")], w=np.zeros(1_000_000, np.float32), s=[20, 1_000_000])
    screen(path, path.name)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights", size_threshold=1024)
    assert path.stat().st_size < 20_000
    screen(path, path.name)
    (tmp_path / "weights").unlink()
    with pytest.raises(BundleError, match="far larger than its size"):
        screen(path, path.name)


def test_the_size_is_the_one_that_is_made(tmp_path: Path) -> None:
    """A graph may make what it may make, and not a megabyte more."""
    path, made = tmp_path / "model.onnx", 4 * 5_000_000
    graph(path, [node("ConstantOfShape", "s")], s=[5, 1_000_000])
    assert _onnx_sizes.fits(path, made + (1 << 20))
    assert not _onnx_sizes.fits(path, made)


def test_functions_that_call_functions_count_as_often_as_they_are_called(tmp_path: Path) -> None:
    """A runtime puts their nodes where the call is: two calls of two calls of … are as many nodes as it likes."""
    graph(tmp_path / "few.onnx", [node("f3", "x", domain="f")], functions=4)
    graph(tmp_path / "many.onnx", [node("f39", "x", domain="f")], functions=40)
    assert _onnx_sizes.fits(tmp_path / "few.onnx", 1 << 20)
    assert not _onnx_sizes.fits(tmp_path / "many.onnx", 1 << 20)


def test_a_graph_that_says_a_thing_twice_is_refused(tmp_path: Path) -> None:
    """Protocol buffers put both together; who looks at one of them sees another graph than the runtime."""
    graph(tmp_path / "model.onnx", [node("ConstantOfShape", "s")])
    graph(tmp_path / "other.onnx", [], s=[HUGE])
    with (tmp_path / "model.onnx").open("ab") as stream:
        stream.write((tmp_path / "other.onnx").read_bytes())
    with pytest.raises(BundleError, match="damaged"):
        screen(tmp_path / "model.onnx", "model/that")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_graph_or_damaged(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "model.onnx"
    path.write_bytes(body)
    with contextlib.suppress(BundleError):
        screen(path, "model/that")
