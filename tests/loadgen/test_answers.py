"""Answers are read from any split of their bytes, and nothing else passes for one."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.loadgen.answers import Answer, Malformed, Parser

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=1\r\nlo\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (SIZED, Answer(200, b"hello", close=False)),
        (CHUNKED, Answer(200, b"hello", close=False)),
        (b"HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", Answer(503, b"", close=True)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, b"", close=False)),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", Answer(200, b"x", close=True)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, Answer(200, b"hello", close=False)),
    ],
)
def test_whole_answers(data: bytes, expected: Answer) -> None:
    parser = Parser()
    assert parser.read(data) == expected
    assert parser.read(data) == expected  # the second time the head is remembered
    assert all(parser.read(data[:end]) is None for end in range(len(data)))


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\nsome"
    assert Parser().read(data) is None
    assert Parser().read(data, ended=True) == Answer(200, b"some", close=True)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-server\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        SIZED + b"more",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        Parser().read(data)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        Parser().read(b"HTTP/1.1 200 OK\r\n" + data, ended=True)
