"""Turns an ``onnx`` artefact into an ``onnx-shards`` one: cut, written, checked, and each part measured alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bakeoff.data.examples import Row
from bakeoff.delivery.shards import timing
from bakeoff.delivery.shards.cuts import Cut, Graph, Part, build
from bakeoff.delivery.shards.measure import load, save
from bakeoff.delivery.shards.planner import choose
from bakeoff.evaluation.starting import environment
from bakeoff.runtimes import sealed
from bakeoff.runtimes._graphs import Feeder
from bakeoff.runtimes.loading import ARTIFACT_FILE, read_artifact
from bakeoff.runtimes.shards.plan import FILE, FORMAT, STAGES, UNSPLIT, ShardPlan, Stage, write_plan
from bakeoff.schema.artifact import Artifact, FileEntry
from bakeoff.schema.errors import StepError, UnavailableError, UserError

_MOST_ROWS = 64
_MOST_SHARDS = 64
_SMALL_WEIGHT = 1024
_DEADLINE = 900.0
_NUMPY = {1: "float32", 6: "int32", 7: "int64", 11: "float64"}


@dataclass(frozen=True)
class Split:
    """What splitting did: the artefact in ``directory``, its plan, and how many places there were to cut."""

    artifact: Artifact
    directory: Path
    plan: ShardPlan
    places: int

    def text(self) -> str:
        """Return the plan as lines: what was predicted and what each part then measured."""
        plan, total = self.plan, sum(stage.weights for stage in self.plan.stages)
        head = f"{len(plan.stages)} stages out of {self.places} places to cut, micro-batches of {plan.micro_batch}"
        lines = [f"{head}, timed on {plan.rows} rows, one thread"]
        for number, stage in enumerate(plan.stages):
            lines.append(
                f"  stage {number}: predicted {1e3 * stage.predicted_seconds:.2f} ms a row, measured {1e3 * stage.measured_seconds:.2f} ms; "
                f"weights {stage.weights / 1e6:.1f} MB, memory {stage.measured_memory / 1e6:.1f} MB"
            )
        slowest = max(stage.measured_seconds for stage in plan.stages)
        lines.append(
            f"  unsplit: {1e3 * plan.whole_seconds:.2f} ms a row, weights {total / 1e6:.1f} MB, memory {plan.whole_memory / 1e6:.1f} MB; "
            f"the slowest stage allows {plan.whole_seconds / slowest:.2f} times its rate"
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class Sharding:
    """What to split into when shipping: number of stages, bytes of weights one may hold, and who is told the plan."""

    shards: int
    memory: int | None = None
    tell: Callable[[str], None] | None = None

    @contextmanager
    def of(self, source: Path, rows: Sequence[Row]) -> Iterator[Path]:
        """Yield a folder with the artefact in ``source``, split; see ``split_artifact`` for what can go wrong."""
        with tempfile.TemporaryDirectory(prefix="bakeoff-shards-") as folder:
            found = split_artifact(source, Path(folder), self.shards, rows, self.memory)
            if self.tell is not None:
                self.tell(found.text())
            yield found.directory


def split_artifact(source: Path, out: Path, shards: int, rows: Sequence[Row], memory: int | None = None) -> Split:
    """Split the graph of the artefact in ``source`` and write the new artefact to the empty folder ``out``.

    Args:
        source: an artefact of format ``onnx``.
        out: where the new one goes, ``artifact.json`` included.
        shards: number of stages, at least 2.
        rows: real rows to time on; the first 64 are used.
        memory: bytes of weights that one stage may hold.

    Raises:
        UserError: the number of shards makes no sense, or there are no rows.
        StepError: another format, or a graph that cannot be cut like this ('unsupported'), or a library is missing ('unavailable').

    """
    artifact = read_artifact(source)
    _refuse(artifact, shards, rows)
    graph = Graph(_read_model(source / str(artifact.meta.get("model", "model.onnx"))))
    kinds = {item.name: _kind(item) for item in graph.model.graph.input if item.name in graph.inputs}
    feeder = Feeder(artifact, source)
    rows = rows[:_MOST_ROWS]
    size = _micro_batch(graph, artifact, feeder, kinds, rows)
    batches = _batches(feeder, kinds, rows, size)
    cuts = graph.candidates(shards - 1)
    described = timing.describe(graph, cuts, feeder([_longest(rows)] * 3, kinds))
    timed = timing.time_pieces(graph, cuts, described, batches)
    chosen = choose(
        len(cuts), shards, lambda a, b: sum(timed.seconds[a:b]), lambda a, b: _between(graph, cuts, a, b).size,
        lambda place: timed.sent[place - 1], memory,
    )  # fmt: skip
    places = [0, *chosen.cuts, len(cuts) + 1]
    predicted = [sum(timed.seconds[a:b]) for a, b in pairwise(places)]
    _copy_others(artifact, source, out)
    stages = _write(graph, [cuts[place - 1] for place in chosen.cuts], described, out)
    plan = _measured(stages, predicted, graph, batches, out, kinds, size)
    write_plan(out, plan)
    return Split(_finish(artifact, out), out, plan, len(cuts))


def _refuse(artifact: Artifact, shards: int, rows: Sequence[Row]) -> None:
    if artifact.format != UNSPLIT:
        what = "only ONNX graphs are split"
        raise StepError("unsupported", what, got=artifact.format, try_="ship a candidate that runs on onnxruntime")
    if artifact.transform.get("kind") != "hf-tokenizer":
        what = "only graphs of transformers are split; this one is small enough for any server"
        raise StepError("unsupported", what, got=artifact.transform.get("kind"), try_="ship it without --shards")
    if not 2 <= shards <= _MOST_SHARDS:
        what = "the number of shards makes no sense"
        raise UserError(what, got=shards, allowed=f"2 to {_MOST_SHARDS}")
    if not rows:
        what = "shards are balanced on real rows, and there are none"
        raise UserError(what, try_="keep the data of the study")


def _read_model(path: Path) -> Any:  # noqa: ANN401 - onnx has no types
    from bakeoff.runtimes._onnx_files import external_files

    try:
        import onnx
    except ImportError as error:
        what = "splitting a graph needs onnx"
        raise UnavailableError(what, try_="pip install 'bakeoff[onnx]'") from error
    for name in external_files(path):
        sealed.contained(path.parent, name)
    return onnx.load(path)


def _kind(item: Any) -> str:  # noqa: ANN401 - onnx has no types
    kind = item.type.tensor_type.elem_type
    if kind not in _NUMPY:
        what = "an input of the graph has a type that is not fed here"
        raise StepError("unsupported", what, where=item.name, got=kind)
    return _NUMPY[kind]


def _batches(feeder: Feeder, kinds: Mapping[str, str], rows: Sequence[Row], size: int) -> list[timing.Tensors]:
    return [feeder(rows[at : at + size], kinds) for at in range(0, len(rows), size)]


def _micro_batch(
    graph: Graph, artifact: Artifact, feeder: Feeder, kinds: Mapping[str, str], rows: Sequence[Row]
) -> int:
    most = int(artifact.meta.get("batch") or timing.SIZES[-1])
    sizes = [size for size in timing.SIZES if size <= min(most, len(rows))]
    if len(sizes) == 1:
        return sizes[0]
    by_size = {size: _batches(feeder, kinds, rows[: timing.SIZES[-1]], size) for size in sizes}
    return timing.micro_batch(timing.batch_curve(graph, by_size))


def _longest(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: sum(len(str(value)) for value in row.values()))


def _between(graph: Graph, cuts: Sequence[Cut], start: int, stop: int) -> Part:
    given = cuts[start - 1].sent if start else ()
    wanted = cuts[stop - 1].sent if stop <= len(cuts) else graph.outputs
    return graph.part(given, wanted)


def _copy_others(artifact: Artifact, source: Path, out: Path) -> None:
    """Copy what is not the graph: the tokenizer and its like."""
    model = str(artifact.meta.get("model", "model.onnx"))
    for entry in artifact.files:
        if entry.path not in {model, f"{model}.data"}:
            target = sealed.contained(out, entry.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / entry.path, target)


def _write(graph: Graph, cuts: Sequence[Cut], described: Mapping[str, Any], out: Path) -> list[Stage]:
    """Write one graph a stage, each checked by onnx; times and memory are filled in later."""
    stages = []
    for number in range(len(cuts) + 1):
        part = _between(graph, cuts, number, number + 1)
        last = number == len(cuts)
        files = _write_graph(build(graph, part, described), out, f"{STAGES}/{number}/model.onnx")
        sends = graph.outputs if last else cuts[number].crossing
        stages.append(
            Stage(
                files=files, inputs=part.inputs, outputs=part.outputs, sends=sends, weights=part.size,
                predicted_seconds=0.0, measured_seconds=0.0, measured_memory=0,
            )
        )  # fmt: skip
    return stages


def _write_graph(model: Any, out: Path, name: str) -> tuple[FileEntry, ...]:  # noqa: ANN401 - onnx has no types
    import onnx

    path = out / name
    path.parent.mkdir(parents=True)
    # Weights beside the graph are mapped, not parsed: a word table of 400 MB then takes the memory of the rows that are looked up.
    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=_SMALL_WEIGHT)
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        what = f"a part of the graph is not valid alone: {str(error)[:300]}"
        raise StepError("error", what, where=name) from error
    found = sealed.entries(path.parent)
    ordered = sorted(found, key=lambda entry: entry.path != path.name)
    return tuple(entry.model_copy(update={"path": f"{Path(name).parent.as_posix()}/{entry.path}"}) for entry in ordered)


def _measured(
    stages: Sequence[Stage], predicted: Sequence[float], graph: Graph, batches: list[timing.Tensors],
    out: Path, kinds: Mapping[str, str], size: int,
) -> ShardPlan:  # fmt: skip
    """Run the whole and then stage after stage, each alone in a process, and compare what the last one says with the whole."""
    rows = sum(len(next(iter(batch.values()))) for batch in batches)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_graph(graph.model, folder, "whole/model.onnx")
        whole, expected = _alone(folder / "whole/model.onnx", batches, folder)
        tensors, done = batches, []
        for stage, guess in zip(stages, predicted, strict=True):
            figures, made = _alone(out / stage.files[0].path, tensors, folder)
            tensors = [{key: batch[key] for key in stage.sends} for batch in made]
            measured = {"measured_seconds": figures["seconds"] / rows, "measured_memory": int(figures["memory"])}
            done.append(stage.model_copy(update={**measured, "predicted_seconds": guess}))
    for one, other in zip(tensors, expected, strict=True):
        _compare(one, other, graph.outputs)
    return ShardPlan(
        stages=tuple(done), inputs=dict(kinds), micro_batch=size, whole_seconds=whole["seconds"] / rows,
        whole_memory=int(whole["memory"]), rows=rows,
    )  # fmt: skip


def _alone(graph: Path, batches: list[timing.Tensors], folder: Path) -> tuple[dict[str, float], list[timing.Tensors]]:
    source, target = folder / "in.npz", folder / "out.npz"
    save(source, batches)
    command = [sys.executable, "-P", "-m", "bakeoff.delivery.shards.measure", str(graph), str(source), str(target)]
    done = subprocess.run(
        command, env=environment(1), capture_output=True, timeout=_DEADLINE, check=False, encoding="utf-8", errors="replace",
    )  # fmt: skip
    if done.returncode != 0:
        what = f"a part of the graph does not run alone: {done.stderr.strip()[-300:]}"
        raise StepError("error", what, where=str(graph))
    return json.loads(done.stdout.splitlines()[-1]), load(target)


def _compare(found: timing.Tensors, expected: timing.Tensors, outputs: Sequence[str]) -> None:
    for name in outputs:
        drift = float(np.abs(found[name].astype(np.float64) - expected[name].astype(np.float64)).max())
        if not drift <= 1e-5:
            what = "the parts together do not answer like the whole"
            raise StepError("parity", what, where=name, got=f"a difference of {drift:.2g}", allowed="at most 1e-5")


def _finish(artifact: Artifact, out: Path) -> Artifact:
    meta = {name: value for name, value in artifact.meta.items() if name != "model"} | {"plan": FILE}
    made = artifact.model_copy(update={"format": FORMAT, "meta": meta, "files": ()})
    made = made.model_copy(update={"files": sealed.entries(out)})
    (out / ARTIFACT_FILE).write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8", newline="\n")
    return made
