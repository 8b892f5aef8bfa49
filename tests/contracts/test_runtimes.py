"""The contract of a runtime, checked for every runtime the registry finds: ids are ``runtime.format:check``."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bakeoff import registry
from bakeoff.runtimes.loading import RUNTIMES, load_predictor, runtime_named
from bakeoff.schema import Artifact, BakeoffError, InputColumn, StepError
from tests.contracts._cases import CLASSES, Built, Case, Workshop, cases, opened, rows_of


@dataclass(frozen=True)
class Load:
    """One format a runtime says it loads, with the cheapest case that makes it."""

    runtime: str
    format: str
    case: Case | None
    exported: bool = False

    def built(self, workshop: Workshop) -> Built:
        if self.case is None:
            pytest.fail(f"no family builds or exports {self.format}")
        return workshop.exported(self.case, self.format) if self.exported else workshop.native(self.case)


def _loads() -> list[Load]:
    found = []
    for name, runtime in registry.plugins("runtimes").items():
        for form in runtime.traits.loads:
            native = [case for case in cases() if case.format == form]
            exporting = [case for case in cases() if form in case.exports()]
            chosen = sorted(native or exporting, key=lambda case: (bool(case.obstacle()), case.variant.weights or ""))
            found.append(Load(name, form, chosen[0] if chosen else None, exported=not native))
    return found


Check = Callable[[Load, Workshop], None]


def answers_like_itself(load: Load, workshop: Workshop) -> None:
    """Two loads of one artefact give the same probabilities."""
    built = load.built(workshop)
    assert load.case is not None
    rows = rows_of(load.case)[:8]
    answers = []
    for _ in range(2):
        predictor = opened(built, load.runtime)
        answers.append(predictor.predict_proba(rows))
        predictor.close()
    assert answers[0].shape == (len(rows), 2)
    assert answers[0].dtype == np.float64
    np.testing.assert_array_equal(answers[0], answers[1])


def survives_a_second_thread(load: Load, workshop: Workshop) -> None:
    """A server predicts in a worker thread: a predictor made in one thread answers in another."""
    predictor = opened(load.built(workshop), load.runtime)
    assert load.case is not None
    rows = rows_of(load.case)[:2]
    expected = predictor.predict_proba(rows)
    found: list[np.ndarray] = []
    worker = threading.Thread(target=lambda: found.append(predictor.predict_proba(rows)))
    worker.start()
    worker.join(120)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    predictor.close()


def missing_files_are_an_error(load: Load, workshop: Workshop) -> None:
    built = load.built(workshop)
    if load.format == "constant":
        pytest.skip("a constant has no files")
    with pytest.raises((BakeoffError, OSError)):
        load_predictor(built.artifact, workshop.place(), load.runtime, 1)


def truncated_files_are_an_error(load: Load, workshop: Workshop) -> None:
    built = load.built(workshop)
    files = [path for path in built.directory.rglob("*") if path.is_file() and path.stat().st_size > 1]
    if not files:
        pytest.skip("the format has no files")
    out = workshop.place()
    for path in files:
        target = out / path.relative_to(built.directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            target.write_bytes(file.read(min(path.stat().st_size // 2, 4096)))
    with pytest.raises(Exception):  # noqa: B017 - each library has its own; what matters is that it does not answer
        load_predictor(built.artifact, out, load.runtime, 1).predict_proba([{}])


CHECKS: tuple[Check, ...] = (
    answers_like_itself,
    survives_a_second_thread,
    missing_files_are_an_error,
    truncated_files_are_an_error,
)


@pytest.mark.parametrize(
    ("load", "check"),
    [
        pytest.param(load, check, id=f"{load.runtime}.{load.format}:{check.__name__}")
        for load in _loads()
        for check in CHECKS
    ],
)
def test_contract(load: Load, check: Check, workshop: Workshop) -> None:
    if load.case is not None and (why := load.case.obstacle()):
        pytest.skip(why)
    check(load, workshop)


@pytest.mark.parametrize("name", sorted(registry.plugins("runtimes")))
def test_traits(name: str) -> None:
    traits = registry.plugins("runtimes")[name].traits
    assert traits.loads
    assert traits.label.zh.strip()
    assert traits.label.en.strip()


@pytest.mark.parametrize("name", sorted(registry.plugins("runtimes")))
def test_unknown_formats_are_refused(name: str, tmp_path: Path) -> None:
    artifact = Artifact(
        format="stone-tablet",
        task="text-classification",
        classes=CLASSES["text-classification"],
        inputs=(InputColumn(name="text", kind="text"),),
    )
    with pytest.raises(StepError) as caught:
        load_predictor(artifact, tmp_path, name, 1)
    assert caught.value.code == "unsupported"


def test_every_runtime_is_in_the_light_table() -> None:
    """Serving loads runtimes without the registry; both must know the same ones."""
    ours = {
        name for name, plugin in registry.plugins("runtimes").items() if type(plugin).__module__.startswith("bakeoff.")
    }
    assert set(RUNTIMES) == ours
    for name in ours:
        assert runtime_named(name) is registry.plugins("runtimes")[name]


def test_every_format_a_runtime_loads_is_made_by_a_family() -> None:
    lonely = [f"{load.runtime}:{load.format}" for load in _loads() if load.case is None]
    assert not lonely


_HEAVY = (
    "torch", "transformers", "onnx", "onnxruntime", "sklearn", "scipy", "lightgbm", "xgboost", "tokenizers", "rjieba",
    "xllamacpp", "httpx", "pandas", "safetensors", "openvino", "ai_edge_litert",
)  # fmt: skip


@pytest.mark.parametrize("group", ["models", "runtimes", "compression"])
def test_plugins_are_light_to_import(group: str) -> None:
    code = (
        "import sys\nfrom bakeoff import registry\n"
        f"registry.plugins({group!r})\n"
        f"print(','.join(name for name in {_HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
