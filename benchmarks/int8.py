"""int8 against fp32 on a real fine-tuned encoder. Bars: 2.5 times the rows a CPU second, at most 0.5 points of accuracy lost.

Each data set's encoder is fine-tuned once, exported, compressed by every pass and run by the product's own predictors, tokenising
included, on the same held-out rows: CPU time on one thread, rounds interleaved. fp32 may use its best arrangement (a batch of 32, row by
row, or grouped by length; ONNX Runtime or OpenVINO), so the ratio is what int8 adds and not what batching does. The difference in accuracy
is paired: both answer the same rows, and its interval is of the rows on which they differ.

    python -m benchmarks.int8 [--rows 800] [--rounds 5] [--data chinese-reviews bbc-news]
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff import assets, registry
from bakeoff.compression.base import CompressContext
from bakeoff.data.examples import Examples, Row
from bakeoff.data.transforms.feeds import Feeder
from bakeoff.decision.compressed import why_slow
from bakeoff.evaluation.environment import host
from bakeoff.models.base import BuildContext, ExportContext
from bakeoff.models.encoder import PLUGIN as ENCODER
from bakeoff.runtimes.loading import load_predictor
from bakeoff.schema import Artifact, InputColumn
from benchmarks import finish

SPEED, LOSS = 2.5, 0.5
CALIBRATE, TRAIN, SEED = 300, 1000, 0
ENCODERS = {"chinese-reviews": ("reviews.csv", "e5-small", "zh"), "bbc-news": ("articles.csv", "minilm", "en")}
PASSES = {"static_int8": "openvino", "dynamic_int8": "onnxruntime", "bfloat16": "openvino"}


@dataclass(frozen=True)
class Made:
    """An artefact on disk, and the runtime that loads it."""

    artifact: Artifact
    directory: Path
    runtime: str

    def arranged(self, **meta: Any) -> Made:  # noqa: ANN401 - of an artefact's meta
        """Return the same graph run in other pieces."""
        return Made(
            self.artifact.model_copy(update={"meta": {**self.artifact.meta, **meta}}), self.directory, self.runtime
        )


def main() -> int:
    """Build, compress, measure, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=800)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--data", nargs="+", default=list(ENCODERS), choices=list(ENCODERS))
    given = options.parse_args()
    figures = {name: measure(name, given.rows, given.rounds) for name in given.data}
    best = {name: max(_within(found), key=lambda item: item["ratio"], default=None) for name, found in figures.items()}
    met = all(found is not None and found["ratio"] >= SPEED for found in best.values())
    reasons = {} if met else {name: _why(name, figures[name], item) for name, item in best.items()}
    for reason in reasons.values():
        print(reason)
    finish("int8", bars={"ratio": SPEED, "points_lost": LOSS}, figures=figures, met=met, reasons=reasons)
    return 0


def _why(name: str, found: dict[str, Any], best: dict[str, Any] | None) -> str:
    """Say why a data set's best int8 pass stays below the bar, or that it does not."""
    if best is None:
        return f"{name}: every int8 pass loses more than {LOSS} points"
    if best["ratio"] >= SPEED:
        return f"{name}: met, {best['ratio']:.2f} times as fast"
    key = next(key for key, item in found["passes"].items() if item is best)
    tokens, spent = found["us_tokenising"], found["us_per_row"][key]
    return (
        f"{name}: {key} is {best['ratio']:.2f} times as fast, below {SPEED}."
        f"{why_slow(key, host(1).isa).en} Tokenising is {tokens:.0f} of its {spent:.0f} µs a row ({100 * tokens / spent:.0f} %)."
    )


def _tokenising(made: Made, rows: Sequence[Row], rounds: int) -> float:
    """Return the CPU µs a row that making the feeds takes, without the graph: the least of ``rounds``."""
    feeder, found = Feeder(made.artifact, made.directory), []
    for _ in range(rounds):
        begin = time.process_time()
        for at in range(0, len(rows), 32):
            feeder(rows[at : at + 32], {"input_ids": np.int64, "attention_mask": np.int64})
        found.append((time.process_time() - begin) / len(rows) * 1e6)
    return min(found)


def _within(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the int8 passes that lose no more than the bar."""
    return [item for name, item in found["passes"].items() if name.endswith("int8") and item["points_lost"] <= LOSS]


def measure(name: str, rows: int, rounds: int) -> dict[str, Any]:
    """Return CPU µs a row and accuracy of every arrangement on one data set, and what each pass gains and loses."""
    train, calibrate, held_out, classes = _data(name, rows)
    with tempfile.TemporaryDirectory(prefix="bakeoff-int8-") as scratch:
        made = _made(name, train, calibrate, classes, Path(scratch))
        predictors = {key: load_predictor(item.artifact, item.directory, item.runtime, 1) for key, item in made.items()}
        spent: dict[str, list[float]] = {key: [] for key in predictors}
        answers: dict[str, NDArray[np.int64]] = {}
        for number in range(rounds + 1):
            order = list(predictors) if number % 2 else list(reversed(predictors))
            for key in order:
                begin = time.process_time()
                answers[key] = predictors[key].predict_proba(held_out.rows).argmax(axis=1)
                if number:  # the first round warms up
                    spent[key].append((time.process_time() - begin) / len(held_out) * 1e6)
        tokens = _tokenising(made["fp32 onnx, 32 rows"], held_out.rows, rounds)
    return {**_figures(name, spent, answers, held_out.labels), "us_tokenising": round(tokens, 1)}


def _figures(
    name: str, spent: dict[str, list[float]], answers: dict[str, NDArray[np.int64]], labels: NDArray[np.int64]
) -> dict[str, Any]:
    typical = {key: statistics.median(values) for key, values in spent.items()}
    exact = min((key for key in typical if key.startswith("fp32")), key=typical.__getitem__)
    print(
        f"{name}: n = {len(labels)} rows, {len(spent[exact])} rounds, CPU µs a row (median; least), accuracy",
        flush=True,
    )
    for key, value in typical.items():
        right = 100 * float((answers[key] == labels).mean())
        print(f"  {key:24s} {value:8.0f} {min(spent[key]):8.0f}   {right:6.2f} %")
    passes: dict[str, Any] = {}
    for key in PASSES:
        ratios = [slow / fast for slow, fast in zip(spent[exact], spent[key], strict=True)]
        lost, low, high = paired(answers[exact] == labels, answers[key] == labels)
        passes[key] = {
            "ratio": round(statistics.median(ratios), 3), "ratio_low": round(min(ratios), 3), "ratio_high": round(max(ratios), 3),
            "points_lost": round(lost, 3), "low": round(low, 3), "high": round(high, 3),
            "same_labels": round(float((answers[exact] == answers[key]).mean()), 4),
        }  # fmt: skip
        print(
            f"  {key} against {exact}: {passes[key]['ratio']:.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"{lost:+.2f} points lost (95 %: {low:+.2f} to {high:+.2f})",
            flush=True,
        )
    return {
        "n": len(labels), "rounds": len(spent[exact]), "fp32": exact,
        "us_per_row": {key: round(value, 1) for key, value in typical.items()},
        "accuracy": {key: round(float((found == labels).mean()), 5) for key, found in answers.items()}, "passes": passes,
    }  # fmt: skip


def paired(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the points of accuracy lost and their 95 % interval, from the rows on which the two differ (normal approximation)."""
    loss = before.astype(np.float64) - after.astype(np.float64)
    half = 1.96 * float(loss.std(ddof=1)) / len(loss) ** 0.5
    mean = float(loss.mean())
    return 100 * mean, 100 * (mean - half), 100 * (mean + half)


def _data(name: str, rows: int) -> tuple[Examples, Examples, Examples, tuple[str, ...]]:
    """Return training, calibrate and held-out rows, each text once, and the classes."""
    file, _, _ = ENCODERS[name]
    folder = assets.find(name)
    if folder is None:
        sys.exit(f"bakeoff fetch {name}")
    with (folder / file).open(encoding="utf-8", newline="") as stream:
        distinct = {row["text"]: row["label"] for row in csv.DictReader(stream)}
    items = sorted(distinct.items())
    random.Random(SEED).shuffle(items)
    classes = tuple(sorted(set(distinct.values())))
    train = min(TRAIN, len(items) // 3)

    def part(start: int, count: int) -> Examples:
        taken = items[start : start + count]
        texts: Sequence[Row] = [{"text": text} for text, _ in taken]
        return Examples(texts, np.array([classes.index(label) for _, label in taken], dtype=np.int64))

    return part(0, train), part(train, CALIBRATE), part(train + CALIBRATE, rows), classes


def _made(name: str, train: Examples, calibrate: Examples, classes: tuple[str, ...], root: Path) -> dict[str, Made]:
    """Fine-tune, export to both formats and compress with every pass."""
    _, variant_name, language = ENCODERS[name]
    variant = next(item for item in ENCODER.variants(*_asked(language)) if item.name == variant_name)
    weights = assets.find(str(variant.weights))
    if weights is None:
        sys.exit(f"bakeoff fetch {variant.weights}")
    for folder in ("native", "onnx", "openvino", *PASSES):
        (root / folder).mkdir()
    native = ENCODER.build(
        BuildContext(
            task="text-classification", classes=classes, inputs=(InputColumn(name="text", kind="text"),), language=language,
            train=train, calibrate=calibrate, variant=variant, seed=SEED, threads=1, out=root / "native", weights=weights,
        )
    )  # fmt: skip
    exported = {
        form: ENCODER.export(ExportContext(native, root / "native", root / form, form, 1))
        for form in ("onnx", "openvino")
    }
    onnx = Made(exported["onnx"], root / "onnx", "onnxruntime")
    openvino = Made(exported["openvino"], root / "openvino", "openvino")
    made = {
        "fp32 onnx, 32 rows": onnx, "fp32 onnx, one row": onnx.arranged(batch=1), "fp32 onnx, by length": onnx.arranged(bucket=16),
        "fp32 openvino, 32 rows": openvino, "fp32 openvino, by length": openvino.arranged(bucket=16),
    }  # fmt: skip
    for pass_name, runtime in PASSES.items():
        source = onnx if runtime == "onnxruntime" else openvino
        compression = registry.plugin("compression", pass_name)
        artifact = compression.apply(
            CompressContext(source.artifact, source.directory, root / pass_name, calibrate.rows, 1)
        )
        made[pass_name] = Made(artifact, root / pass_name, runtime)
    return made


def _asked(language: str) -> tuple[Any, Any]:
    """Return what ``variants`` asks for: only the language matters to it."""
    from types import SimpleNamespace

    return None, SimpleNamespace(language=language)


if __name__ == "__main__":
    sys.exit(main())
