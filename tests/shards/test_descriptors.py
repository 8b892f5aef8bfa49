"""Where many files and connections are open, descriptors have numbers that ``select`` does not take."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from bakeoff.delivery.shards import Split
from bakeoff.loadgen.engine import Engine, Plan
from bakeoff.runtimes.shards import wire
from bakeoff.runtimes.shards.predictor import open_local
from tests.shards import making


@pytest.fixture
def crowded() -> Iterator[None]:
    """Every descriptor below 1,100 is taken."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 4096:
        pytest.skip("this user may not open that many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), before[1]))
    taken = []
    try:
        while not taken or taken[-1] < 1100:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("crowded")
def test_stages_start_answer_and_come_back(split: Split, whole: Path) -> None:
    expected = making.answers(whole)
    with closing(open_local(split.artifact, split.directory, 1)) as predictor:
        np.testing.assert_allclose(predictor.predict_proba(making.ROWS), expected, atol=1e-5)
        predictor.pipeline._placement.kill()
        np.testing.assert_allclose(predictor.predict_proba(making.ROWS), expected, atol=1e-5)
        assert predictor.pipeline.repairs > 0


@pytest.mark.usefixtures("crowded")
def test_what_can_be_read_is_told_apart() -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    try:
        assert pairs[0][0].fileno() > 1024
        readers = [one for one, _ in pairs]
        assert wire.readable(readers, 0.0) == []
        pairs[1][1].send(b"x")
        assert wire.readable(readers, 5.0) == [readers[1]]
        pairs[0][1].close()
        assert wire.readable(readers, 5.0) == readers, "an end that was closed is told, too"
        readers[0].close()
        with pytest.raises(ValueError, match="descriptor"):
            wire.readable(readers, 5.0)
    finally:
        for pair in pairs:
            for one in pair:
                with suppress(OSError):
                    one.close()


@pytest.mark.usefixtures("crowded")
def test_load_is_sent_with_the_coarser_clock() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert Engine(Plan(host="127.0.0.1", port=port), [b""])._fine is False
