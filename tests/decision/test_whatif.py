"""Overrides: dotted paths, units as in the file, all mistakes at once."""

from __future__ import annotations

import pytest

from bakeoff.decision import overridden
from bakeoff.schema import SpecError
from tests.decision.worlds import make_spec


def test_values_are_read_as_in_the_file() -> None:
    found = overridden(
        make_spec(), {"requirements.latency.p95": "80ms", "traffic.volume": "1M/day", "costs.people": "500/h"}
    )
    assert found.requirements.latency.p95 == pytest.approx(0.08)
    assert found.traffic.volume == pytest.approx(1e6 / 86400)
    assert found.costs.people == 500.0


def test_mappings_take_keys_with_arrows_and_dots() -> None:
    found = overridden(
        make_spec(value={"errors": {"a->b": 1}}), {"value.errors.neg->pos": 3, "value.errors.v1.0->b": 2}
    )
    assert found.value.errors == {"a->b": 1.0, "neg->pos": 3.0, "v1.0->b": 2.0}


def test_nothing_to_change_returns_the_same() -> None:
    spec = make_spec()
    assert overridden(spec, {}) is spec
    assert overridden(spec, {"seed": spec.seed}) == spec


def test_all_mistakes_are_listed_with_a_suggestion() -> None:
    with pytest.raises(SpecError) as caught:
        overridden(make_spec(), {"requirements.latencies.p95": "80ms", "seed.more": 1})
    assert len(caught.value.problems) == 2
    assert "did you mean 'requirements.latency'?" in str(caught.value)
    assert "nothing below this field" in str(caught.value)


def test_values_that_do_not_fit_are_said() -> None:
    with pytest.raises(SpecError, match="p95"):
        overridden(make_spec(), {"requirements.latency.p95": "80 parsecs"})
