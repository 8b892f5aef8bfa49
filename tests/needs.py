"""Tools that some tests need: they skip themselves without one, and fail where it was promised.

``make test`` names in BAKEOFF_TEST_REQUIRE what ``scripts/setup-system.sh --promised`` says is there or gets installed, so that a tool
that is missing, or is not found, does not look like success.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRE = "BAKEOFF_TEST_REQUIRE"
TOOLS = ("browser", "hadolint", "image", "postgres")


def lacking(tool: str, why: str) -> NoReturn:
    """Skip the test, or fail it where the tool was promised."""
    if tool in os.environ.get(REQUIRE, "").split(","):
        pytest.fail(f"{why}; {REQUIRE} names {tool}", pytrace=False)
    pytest.skip(why)
