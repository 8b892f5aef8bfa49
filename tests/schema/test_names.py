"""The package's public names are imported when they are first used; every one of them must be found."""

from __future__ import annotations

import bakeoff.schema


def test_every_public_name_has_a_home() -> None:
    assert set(bakeoff.schema.__all__) == set(bakeoff.schema._HOME)
    assert all(getattr(bakeoff.schema, name).__name__ for name in bakeoff.schema.__all__)
