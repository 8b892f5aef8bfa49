from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bakeoff.assets.tensors import Tensor, read_safetensors, write_safetensors
from bakeoff.schema.errors import UserError

ARRAYS = st.dictionaries(
    st.text("abc.", min_size=1, max_size=6), hnp.arrays(np.float32, hnp.array_shapes(max_side=5)), max_size=4
)


@given(ARRAYS)
def test_what_is_written_is_read_back(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("t") / "x.safetensors"
    write_safetensors(path, [Tensor(name, a.shape, lambda a=a: iter([a.ravel()])) for name, a in arrays.items()])
    back = read_safetensors(path)
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], arrays[name], equal_nan=True) for name in arrays)


def test_the_safetensors_library_agrees(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    pieces = [value[:1].ravel(), value[1:].ravel()]
    write_safetensors(tmp_path / "ours", [Tensor("w", (3, 4), lambda: iter(pieces))], {"format": "pt"})
    assert np.array_equal(library.load_file(tmp_path / "ours")["w"], value)
    half = {"h": value.astype(np.float16), "i": np.arange(3, dtype=np.int64)}
    library.save_file(half, tmp_path / "theirs")
    back = read_safetensors(tmp_path / "theirs")
    assert all(np.array_equal(back[name], half[name]) and back[name].dtype == half[name].dtype for name in half)


def test_a_wrong_number_of_values_is_refused(tmp_path):
    short = Tensor("w", (2, 2), lambda: iter([np.zeros(3, np.float32)]))
    with pytest.raises(ValueError, match="w: 12 bytes"):
        write_safetensors(tmp_path / "x", [short])


@pytest.mark.parametrize(
    "content",
    [b"12345678", b"\x10" + b"\0" * 7 + b'{"a": 1}        ', b"\xff" * 16, b"\x02" + b"\0" * 7 + b"[]"],
)
def test_garbage_is_a_clear_error(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match="not a safetensors file"):
        read_safetensors(tmp_path / "x")


def test_what_is_read_cannot_be_changed(tmp_path):
    write_safetensors(tmp_path / "x", [Tensor("w", (2,), lambda: iter([np.ones(2, np.float32)]))])
    with pytest.raises(ValueError, match="read-only"):
        read_safetensors(tmp_path / "x")["w"][0] = 2
