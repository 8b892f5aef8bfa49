"""The public fakes are reachable as plugins and keep the contracts they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff import registry, testing
from bakeoff.schema import UserError
from bakeoff.testing import ScriptedClock


def test_fakes_exist_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(registry.INJECT, raising=False)
    assert "fake" not in registry.plugins("models")
    with pytest.raises(UserError, match="no such plugin"):
        registry.plugin("models", "fake")
    monkeypatch.setenv(registry.INJECT, "bakeoff.testing:PLUGINS")
    assert registry.plugin("models", "fake") is testing.PLUGINS["models"]["fake"]
    for group, plugins in testing.PLUGINS.items():
        assert set(plugins) <= set(registry.plugins(group))
    assert "baseline" in registry.plugins("models")


def test_one_of_ours_is_found_without_importing_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from bakeoff import registry; registry.plugin('models', 'baseline'); "
        "print([name for name in sys.modules if name.startswith('bakeoff.models.') and name.endswith(('linear', 'encoder', 'boosting'))])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize("name", ["base", "_tfidf", "no-such", "", "os.path"])
def test_what_is_no_plugin_is_none(name: str) -> None:
    with pytest.raises(UserError, match="no such plugin"):
        registry.plugin("models", name)


@pytest.mark.parametrize("behaviour", ["well", "nan", "anything"])
def test_good_behaviour_returns(behaviour: str) -> None:
    testing.misbehave(behaviour)


def test_candidates_are_named_by_their_stack() -> None:
    assert testing.candidate("x", runtime="fake_other", compression="fake_pass").id == "fake.x.fake_pass.fake_other"
    assert testing.variant(behave="nan").params == {"behave": "nan"}


def test_the_clock_moves_when_told() -> None:
    clock = ScriptedClock(5.0)
    first = clock.perf_counter()
    clock.advance(2.0)
    clock.sleep(1.0)
    assert clock.perf_counter() - first == pytest.approx(3.0, abs=1e-5)
    assert clock.slept == [1.0]
    assert np.isclose(clock.monotonic(), clock.process_time(), atol=1e-5)
