"""Which tuner runs, what is said where none can, and how what it makes is named."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest

from bakeoff.schema import Candidate, Strategy, UnavailableError, Variant, Words
from bakeoff.schema.space import Parameter, Space
from bakeoff.schema.spec import SearchRules
from bakeoff.search import compose, tuning
from tests.contracts._cases import TASKS, profile_of, spec_of


def test_auto_is_tpe_where_optuna_is_and_nothing_with_a_reason_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuning.resolve("auto") == ("tpe", None)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in {"optuna", "torch"} else real(name))
    method, why = tuning.resolve("auto")
    assert method == "none"
    assert why is not None
    assert "optuna" in why.reason.en
    assert "optuna" in why.reason.zh
    assert why.command == "pip install 'bakeoff[tune]'"
    assert tuning.resolve("grid") == ("grid", None)
    assert tuning.resolve("random") == ("random", None)
    assert tuning.resolve("none") == ("none", None)
    for asked, lacking in (("tpe", "optuna"), ("nsga2", "optuna"), ("gp", "optuna, torch")):
        with pytest.raises(UnavailableError, match=lacking) as caught:
            tuning.resolve(asked)  # type: ignore[arg-type]
        assert "bakeoff[tune" in str(caught.value)


def test_the_catalogue_lists_the_tuner_that_is_missing_and_refuses_the_one_that_was_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = profile_of(TASKS[1])
    spec = spec_of(TASKS[1])
    assert "search.tuner" not in {missing.id for missing in compose(spec, profile)[1]}
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else real(name))
    assert compose(spec, profile)[1][-1].id == "search.tuner"
    off = spec.model_copy(update={"search": SearchRules(trials=0)})
    assert "search.tuner" not in {missing.id for missing in compose(off, profile)[1]}
    with pytest.raises(UnavailableError):
        compose(spec.model_copy(update={"search": SearchRules(tuner="tpe")}), profile)


def test_a_gaussian_process_without_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))
    with pytest.raises(UnavailableError, match=r"needs torch.*\n.*tune,torch"):
        tuning.resolve("gp")


def test_grid_and_random_need_no_library() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('optuna', 'torch', 'scipy', 'sklearn')))\n"
        "from bakeoff.schema import Words\nfrom bakeoff.schema.space import *\nfrom bakeoff.search import tuning, told\n"
        "s = Space(parameters=(Parameter(name='x', label=Words(zh='', en=''), low=0, high=1, absent=0.5, marks=(0, 1)),))\n"
        "print(len(tuning.propose(s, [], 'random', 0, 5)), len(tuning.propose(s, [], 'grid', 0, 5)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["5", "2"]


def _base() -> tuple[Variant, Space]:
    parameters = (
        Parameter(name="C", label=Words(zh="强度", en="C"), low=0.1, high=100, log=True, absent=1.0),
        Parameter(name="library.leaves", label=Words(zh="叶子", en="leaves"), kind="int", low=2, high=64, absent=31, slows=("build_per_1000",)),
        Parameter(name="ngrams", label=Words(zh="n 元", en="n-grams"), kind="categorical", choices=((1, 2), (2, 4)), absent=(1, 2)),
        Parameter(name="strategy.epochs", label=Words(zh="轮数", en="epochs"), kind="int", low=1, high=4, absent=1),
        Parameter(name="balanced", label=Words(zh="加权", en="weights"), kind="categorical", choices=(False, True), absent=False),
    )  # fmt: skip
    base = Variant(
        name="fast", label=Words(zh="快的", en="the fast one"), params={"format": "f", "library": {"seed": 1}}
    )
    return base, Space.around(base, parameters)


def test_a_tuned_variant_says_what_changed_and_is_named_by_content() -> None:
    base, space = _base()
    point = {"C": 8.0, "library.leaves": 62, "ngrams": (2, 4), "strategy.epochs": 3, "balanced": True}
    tuned = tuning.tuned_variant(base, space, point)
    assert tuned.params == {
        "format": "f",
        "library": {"seed": 1, "leaves": 62},
        "C": 8.0,
        "ngrams": [2, 4],
        "balanced": True,
    }
    assert tuned.strategy == Strategy(epochs=3)
    assert re.fullmatch(r"fast-[0-9a-f]{8}", tuned.name)
    assert tuned.base == "fast"
    assert tuned.label.en == "the fast one (tuned: C 8, leaves 62, n-grams 2–4, epochs 3, weights yes)"
    assert tuned.label.zh == "快的（调优：强度 8，叶子 62，n 元 2–4，轮数 3，加权 是）"
    assert tuned.cost.build_per_1000 == pytest.approx(2 * base.cost.build_per_1000)
    assert base.params == {"format": "f", "library": {"seed": 1}}, "the base must not change"
    assert tuning.tuned_variant(base, space, dict(reversed(point.items()))) == tuned
    assert tuning.tuned_variant(base, space, {**point, "C": 9.0}).name != tuned.name
    assert tuning.tuned_variant(base, space, space.default) is base


def test_tuning_a_tuned_variant_keeps_the_name_of_the_listed_one() -> None:
    base, space = _base()
    first = tuning.tuned_variant(base, space, {"C": 8.0})
    again = tuning.tuned_variant(first, Space.around(first, space.parameters), {"C": 4.0})
    assert (again.base, again.params["C"]) == ("fast", 4.0)
    assert again.name == tuning.tuned_variant(base, space, {"C": 4.0}).name


def test_candidates_of_a_tuned_variant_take_the_paths_of_their_base() -> None:
    base, space = _base()
    paths = [
        Candidate(family="f", variant=base, runtime="native", label=base.label),
        Candidate(
            family="f", variant=base, runtime="onnxruntime", compression="dynamic_int8",
            label=Words(zh="快的，int8，ONNX", en="the fast one, int8, ONNX"),
        ),
    ]  # fmt: skip
    tuned = tuning.tuned_variant(base, space, {"C": 8.0})
    made = tuning.tuned_candidates(paths, tuned)
    assert [candidate.id for candidate in made] == [
        f"f.{tuned.name}.none.native",
        f"f.{tuned.name}.dynamic_int8.onnxruntime",
    ]
    assert made[1].label == Words(zh="快的（调优：强度 8），int8，ONNX", en="the fast one (tuned: C 8), int8, ONNX")
