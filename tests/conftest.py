"""What holds for every test."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("behaviour", deadline=None)  # not seconds: a busy machine is no failure
settings.load_profile("behaviour")
os.environ["BAKEOFF_COST_BOOK"] = "off"  # tests neither read nor write what this machine's real studies taught

_TOGETHER = ("tests/ray/", "tests/road/")
"""Their tests share something dear, a cluster or a study, so that one process does them all; the longest first."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have processes that share the tests (``pytest -n 2``) take them by files."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in _TOGETHER if nodeid.startswith(folder)), nodeid.split("::", 1)[0])

    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(_TOGETHER))
