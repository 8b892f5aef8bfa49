"""``whole.onnx``: the model for those who serve without this package, with what comes before and after it inside of one file.

Does: write it where the model allows it, show by example how it is run, compare its answers with the trial's.
Does not know: how the graph is put together, see ``models/_onnx_whole.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff.data.examples import Row
from bakeoff.data.transforms.tabular import category_of, number_of
from bakeoff.data.transforms.text import texts
from bakeoff.delivery.rows import ContractRows
from bakeoff.evaluation.parity import EXPORT_DRIFT, allowed_drift, same_labels
from bakeoff.models._onnx_whole import WHOLE, write_graph
from bakeoff.runtimes._onnx_files import external_names
from bakeoff.runtimes.loading import read_artifact
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Record, Words
from bakeoff.schema.errors import BundleError, StepError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["WHOLE", "WholeSeen", "compare", "example", "write_whole"]

_OUTPUTS = ["probabilities", "label"]
_CHUNK = 256
_TEXT = """import onnxruntime, onnxruntime_extensions
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
session = onnxruntime.InferenceSession("whole.onnx", options)
probabilities, label = session.run(["probabilities", "label"], {"text": ["…"]})
print(label[0], probabilities[0])
"""
_TABLE = """import numpy, onnxruntime
session = onnxruntime.InferenceSession("whole.onnx")
row = {%s}
feeds = {name: numpy.array([[value]], object if isinstance(value, str) else numpy.float32) for name, value in row.items()}
probabilities, label = session.run(["probabilities", "label"], feeds)
print(label[0], probabilities[0])
"""


class WholeSeen(Record):
    """How ``whole.onnx`` answers here; ``reason`` says why it was not asked."""

    rows: int = Field(0, description="Contract rows that it answered.")
    same_labels: int = Field(
        0, description="Rows with the trial's label, ties within the allowed drift counted as the same."
    )
    largest_drift: float | None = Field(None, description="Largest difference of a probability from the trial's.")
    allowed_drift: float = Field(EXPORT_DRIFT, description="Largest difference that is allowed.")
    reason: Words = Field(Words(zh="", en=""), description="Why it was not checked here; empty where it was.")

    @property
    def kept(self) -> bool:
        """Whether every row it answered has the trial's label and no probability is further from the trial's than it may."""
        return self.same_labels == self.rows and (self.largest_drift or 0.0) <= self.allowed_drift

    def said(self) -> Words:
        """Return it as one line."""
        if self.reason.en:
            return Words(zh=f"{WHOLE}：未在此检查：{self.reason.zh}", en=f"{WHOLE}: not checked here: {self.reason.en}")
        return Words(
            zh=f"{WHOLE}：{self.same_labels}/{self.rows} 行的标签与试验相同，概率最大偏差 {self.largest_drift:.1e}（允许 {self.allowed_drift:g}）",
            en=f"{WHOLE}: {self.same_labels} of {self.rows} rows have the trial's label; probabilities differ by at most {self.largest_drift:.1e} "
            f"({self.allowed_drift:g} allowed)",
        )


def write_whole(
    source: Path, out: Path, *, runtime: str = "onnxruntime", rows: Sequence[Row] = (), threads: int = 1
) -> Path:
    """Write ``whole.onnx`` of an artefact to the folder ``out`` and return its path.

    Args:
        source: an artefact directory with its ``artifact.json``; what is not ONNX yet is converted on the way.
        out: an existing folder.
        runtime: that loads the source; asked only where it is converted.
        rows: to compare the converted model on; asked only where it is converted.
        threads: of both runtimes.

    Raises:
        StepError: the model or what comes before it has no form inside of a graph ('unsupported'), the converted model answers
            otherwise ('parity'), or a library is missing ('unavailable').

    """
    artifact = read_artifact(source)
    try:
        if artifact.format == "onnx":
            return write_graph(artifact, source, out)
        from bakeoff.delivery.convert import convert  # it loads models

        with tempfile.TemporaryDirectory(prefix="bakeoff-") as place:
            made = convert(source, Path(place), "onnx", runtime, rows, threads)
            return write_graph(made.artifact, Path(place), out)
    except StepError as error:
        what = f"this model cannot be one file: {error.what}"
        raise StepError(
            error.code, what, got=error.got, allowed=error.allowed, try_=error.try_ or "ship it without --whole"
        ) from error


def example(transform: Mapping[str, Any]) -> str:
    """Return six lines of Python that answer one row with ``whole.onnx`` and without this package."""
    if transform.get("kind") != "tabular":
        return _TEXT
    cells = (
        f"{str(column['name'])!r}: {'0.0' if column['kind'] == 'number' else repr('…')}"
        for column in transform["columns"]
    )
    return _TABLE % ", ".join(cells)


def compare(graph: bytes, artifact: Artifact, rows: ContractRows | None, threads: int) -> WholeSeen:
    """Answer the contract rows with a whole graph and compare with the trial.

    Args:
        graph: content of ``whole.onnx``.
        artifact: of the bundle; how rows become text, the classes and the rule.
        rows: the contract's.
        threads: of one run.

    Raises:
        BundleError: it does not run here, or reads other files.

    """
    text = artifact.transform.get("kind") != "tabular"
    lacking = [
        name for name in ("onnxruntime", *(["onnxruntime_extensions"] if text else [])) if find_spec(name) is None
    ]
    if not rows or lacking:
        return WholeSeen(reason=_why(lacking))
    try:
        session = _session(graph, threads, text=text)
        found = [session.run(_OUTPUTS, feeds) for feeds in _feeds(session, artifact, rows.rows, text=text)]
    except BundleError:
        raise
    except Exception as error:  # the library raises a dozen classes of its own, none with a public root
        what = f"{WHOLE} does not run here: {str(error)[:300]}"
        raise BundleError(what) from error
    number = {name: at for at, name in enumerate(artifact.classes)}
    labels = np.array([number.get(str(name), -1) for _, names in found for name in names], dtype=np.int64)
    probabilities = np.concatenate([table for table, _ in found]).astype(np.float64)
    if probabilities.shape != rows.probabilities.shape or not np.isfinite(probabilities).all():
        what = f"{WHOLE} does not answer with one finite probability per class"
        raise BundleError(what)
    drift = float(np.abs(probabilities - rows.probabilities).max())
    allowed = allowed_drift([artifact])
    same = int(same_labels(labels, rows.expected, rows.probabilities, artifact.rule, allowed).sum())
    return WholeSeen(rows=len(rows), same_labels=same, largest_drift=drift, allowed_drift=allowed)


def gate(seen: WholeSeen) -> None:
    """Refuse a graph that answers otherwise than the trial; one that could not be asked passes.

    Raises:
        StepError: code 'parity'.

    """
    if not seen.kept or (seen.largest_drift or 0.0) > EXPORT_DRIFT:
        what = (
            f"{WHOLE} changes {seen.rows - seen.same_labels} of {seen.rows} labels and moves a probability by "
            f"{seen.largest_drift:.2g} (at most {EXPORT_DRIFT:g})"
        )
        raise StepError("parity", what, try_="ship it without --whole")


def _why(lacking: Sequence[str]) -> Words:
    if not lacking:
        return Words(zh="包内没有契约行", en="there are no contract rows in the bundle")
    names = " ".join(name.replace("_", "-") for name in lacking)
    return Words(zh=f"没有安装 {names}（pip install {names}）", en=f"{names} is not installed (pip install {names})")


def _session(graph: bytes, threads: int, *, text: bool) -> onnxruntime.InferenceSession:
    if external_names(graph):
        what = f"{WHOLE} reads other files, which it never does as shipped"
        raise BundleError(what)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if text:
        import onnxruntime_extensions

        options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _feeds(
    session: onnxruntime.InferenceSession, artifact: Artifact, rows: Sequence[Row], *, text: bool
) -> list[dict[str, Any]]:
    """Return feeds of all rows: one text each, or a table in pieces, as people would write it."""
    if text:
        return [{"text": [found]} for found in texts(rows, {"lowercase": False, **artifact.transform})]
    pieces = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    nodes = [(node.name, "string" in node.type) for node in session.get_inputs()]
    return [{name: _column(piece, name, words=words) for name, words in nodes} for piece in pieces]


def _column(rows: Sequence[Row], name: str, *, words: bool) -> NDArray[Any]:
    if words:
        return np.array([[category_of(row.get(name)) or ""] for row in rows], dtype=object)
    return np.array([[number_of(row.get(name))] for row in rows], dtype=np.float32)
