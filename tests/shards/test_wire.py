from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bakeoff.runtimes.shards import wire
from bakeoff.runtimes.shards.wire import WireError

_KINDS = st.sampled_from(["float32", "float64", "int64", "int32", "uint8", "bool"])


@given(
    tensors=st.dictionaries(
        st.text(min_size=1, max_size=20),
        _KINDS.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))),
        max_size=4,
    )
)
def test_what_is_sent_arrives(tensors: dict[str, np.ndarray]) -> None:
    one, other = socket.socketpair()
    with one, other:
        wire.send(one, {"seq": 7}, tensors)
        head, found = wire.receive(other)
    assert head == {"seq": 7}
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_large_and_strided_arrays_arrive() -> None:
    value = np.random.default_rng(0).normal(size=(300, 700)).T
    one, other = socket.socketpair()
    with one, other:
        sender = threading.Thread(target=wire.send, args=(one, {}, {"a": value}))
        sender.start()
        _, found = wire.receive(other)
        sender.join()
    np.testing.assert_array_equal(found["a"], value)


def _frame(head: bytes, body: bytes = b"") -> bytes:
    return struct.pack("!IQ", len(head), len(body)) + head + body


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="another protocol"),
        pytest.param(struct.pack("!IQ", 10, 1 << 60), id="a body larger than memory"),
        pytest.param(struct.pack("!IQ", 1 << 30, 0), id="a head larger than any"),
        pytest.param(_frame(b"[]"), id="no object"),
        pytest.param(_frame(b'{"seq": 1}'), id="no tensors"),
        pytest.param(_frame(b'{"tensors": [["a", "object", [1]]]}', bytes(64)), id="objects"),
        pytest.param(_frame(b'{"tensors": [["a", "float32", [1000]]]}', bytes(64)), id="longer than the body"),
        pytest.param(_frame(b'{"tensors": [["a", "float32", [-1]]]}', bytes(64)), id="a negative side"),
        pytest.param(_frame(b'{"tensors": []}', bytes(64)), id="bytes left over"),
        pytest.param(_frame(b'{"tensors": [["a", "float32", [16]]]}', bytes(64))[:-1], id="cut short"),
    ],
)
def test_what_is_no_frame_is_refused(sent: bytes) -> None:
    one, other = socket.socketpair()
    with other:
        one.sendall(sent)
        one.close()
        with pytest.raises(WireError):
            wire.receive(other)


def _meet(theirs: bytes, ours: bytes) -> tuple[Any, Any]:
    found: list[Any] = []

    def answer(listener: socket.socket) -> None:
        try:
            found.append(wire.accept(listener, theirs, 2.0))
        except WireError as error:
            found.append(error)

    with wire.listen("127.0.0.1") as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        try:
            mine: Any = wire.connect(listener.getsockname()[:2], ours, 2.0)
        except WireError as error:
            mine = error
        thread.join()
    return mine, found[0]


def test_both_sides_prove_that_they_hold_the_secret() -> None:
    mine, other = _meet(b"s" * 32, b"s" * 32)
    with mine, other:
        wire.send(mine, {"a": 1}, {})
        assert wire.receive(other) == ({"a": 1}, {})


def test_a_wrong_secret_is_refused_by_both_sides() -> None:
    mine, other = _meet(b"s" * 32, b"t" * 32)
    assert isinstance(mine, WireError)
    assert isinstance(other, WireError)


def test_a_caller_that_says_nothing_is_not_waited_for() -> None:
    with (
        wire.listen("127.0.0.1") as listener,
        socket.create_connection(listener.getsockname()),
        pytest.raises(WireError, match="no agreement"),
    ):
        wire.accept(listener, b"s" * 32, 0.1)
