"""A whole file through a bundle's model: rows in, answers out, in memory that does not grow with the file.

A row that cannot be read or answered gets its error in its own line; the others are answered. A model that answers nothing any more
ends the run instead: its errors are not the rows', and what was answered before is kept. Answers are the server's: the same model, the
same rule, the same labels.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bakeoff.data.cells import row_of
from bakeoff.data.examples import Row
from bakeoff.data.stream import STDIN, Record, Rows, open_rows
from bakeoff.schema.base import Record as Frozen
from bakeoff.schema.errors import BakeoffError, BundleError, DataError, UserError
from bakeoff.serving.computing import Compute
from bakeoff.serving.model import Opened, Served, load, open_bundle
from bakeoff.serving.outfile import Growing

Format = Literal["csv", "jsonl"]
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_BLOCK_SECONDS = 1.0
_BLOCK_ROWS = 8192
_DIGITS = 7
Said = tuple[str, float, Sequence[float]] | str
"""Label, its probability, the probabilities of all classes; or why there is no answer."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to predict.

    Args:
        bundle: folder written by ``ship``.
        source: csv, tsv, jsonl or parquet; ``-`` for standard input.
        target: file of answers; ``-`` for standard output.
        format: of the answers; None: by the target's name.
        batch: rows computed together.
        resume: go on where an earlier run stopped.
        force: replace an existing file of answers.
        probabilities: write the probability of every class, not only of the label.
        identifier: column copied to the answers, beside the row number.
        threads: of the model; the contract's when None.
        encoding: of the source; auto guesses.

    """

    bundle: Path
    source: Path
    target: Path
    format: Format | None = None
    batch: int = 64
    resume: bool = False
    force: bool = False
    probabilities: bool = False
    identifier: str | None = None
    threads: int | None = None
    encoding: str = "auto"

    @property
    def written(self) -> Format:
        """Format of the answers."""
        return self.format or _SUFFIXES.get(self.target.suffix.lower(), "csv")


class Predicted(Frozen):
    """What was done."""

    target: str
    model: str
    rows: int = Field(description="Rows of the file, answered or not.")
    failed: int = Field(description="Rows that have an error instead of a label.")
    resumed_from: int = Field(0, description="Rows that an earlier run had answered already.")
    seconds: float
    already: bool = Field(False, description="The file of answers was complete before; nothing was done.")

    @property
    def fruitless(self) -> bool:
        """Whether there were rows and not one of them was answered."""
        return 0 < self.rows == self.failed


class _BrokenError(Exception):
    """The model does not answer a row that it has answered before."""


Progress = Callable[[int, int, int | None], None]
"""(rows answered, position in the input, its total or None)."""


def predict_file(job: Job, progress: Progress = lambda *_: None) -> Predicted:
    """Answer every row of a file.

    Raises:
        UserError: the target exists, or an earlier run cannot be gone on with.
        DataError: the source cannot be read, or lacks a column the model reads.
        BundleError: the bundle is altered or does not load, or its model stops answering; what was answered is kept to go on from.

    """
    _check(job)
    begun = time.monotonic()
    opened = open_bundle(job.bundle)
    if job.resume and (note := Growing.complete(job.target, _identity(job, opened))) is not None:
        return Predicted(
            target=str(job.target), model=opened.manifest.candidate, rows=note.rows, failed=note.failed,
            resumed_from=note.rows, seconds=0.0, already=True,
        )  # fmt: skip
    with open_rows(job.source, encoding=job.encoding) as rows:
        _check_columns(job, rows, opened)
        served = load(opened, job.threads)  # first: a model that does not load takes no earlier answers away
        with closing(served.classifier), closing(_out(job, opened)) as out:
            done = out.start.rows
            for _ in islice(iter(rows), done):
                pass
            _pump(_Answers(served, job), rows, out, job, progress)
            note = out.finish()
    return Predicted(
        target=str(job.target), model=opened.manifest.candidate, rows=note.rows, failed=note.failed, resumed_from=done,
        seconds=time.monotonic() - begun,
    )  # fmt: skip


def _pump(answers: _Answers, rows: Rows, out: Growing | _Stdout, job: Job, progress: Progress) -> None:
    """Move rows from the source to the target, a durable block about once a second.

    Raises:
        BundleError: the model answers nothing any more.

    """
    block: list[str] = [] if out.start.bytes else [answers.header()]
    count, failed, total, since = 0, 0, out.start.rows, time.monotonic()
    for batch in _batches(rows, job.batch):
        try:
            said = answers.of(batch)
        except _BrokenError as error:
            out.append("".join(block).encode(), count, failed)
            what = f"the model answers nothing any more, from row {total + count + 1} on: {error}"
            raise BundleError(what, where=str(job.bundle), try_=_after(job, total + count)) from error.__cause__
        block += [answers.line(record, one) for record, one in zip(batch, said, strict=True)]
        count, failed = count + len(batch), failed + sum(isinstance(one, str) for one in said)
        progress(total + count, rows.position(), rows.total)
        if count >= _BLOCK_ROWS or time.monotonic() - since > _BLOCK_SECONDS:
            out.append("".join(block).encode(), count, failed)
            total, block, count, failed, since = total + count, [], 0, 0, time.monotonic()
    if block:
        out.append("".join(block).encode(), count, failed)


def _batches(rows: Rows, size: int) -> Iterator[list[Record]]:
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch


class _Answers:
    """Computes answers and writes them as lines."""

    def __init__(self, served: Served, job: Job) -> None:
        self._job = job
        self._inputs, self._classes = served.opened.manifest.inputs, served.opened.manifest.classes
        self._compute = Compute(served.classifier, len(self._classes), [served.canary])

    def of(self, batch: Sequence[Record]) -> list[Said]:
        """Return one answer a record.

        Raises:
            _BrokenError: the model is to blame, not a row.

        """
        said: list[Said] = ["" for _ in batch]
        readable: list[int] = []
        rows: list[Row] = []
        for index, record in enumerate(batch):
            try:
                if record.cells is None:
                    raise DataError(record.error)
                rows.append(row_of(record.cells, self._inputs))
                readable.append(index)
            except DataError as error:
                said[index] = error.what if error.where is None else f"{error.where}: {error.what}"
        for index, one in zip(readable, self._computed(rows), strict=True):
            said[index] = one
        return said

    def _computed(self, rows: Sequence[Row]) -> list[Said]:
        if not rows:
            return []
        try:
            outcome = self._compute.run(rows)
        except Exception as error:  # a model may raise anything
            raise _BrokenError(_short(error)) from error
        answered = zip(outcome.labels, outcome.probabilities, strict=True)
        return [
            f"the model cannot answer: {_short(outcome.bad[at])}" if at in outcome.bad else (self._classes[label], shares[label], shares)
            for at, (label, shares) in enumerate(answered)
        ]  # fmt: skip

    def header(self) -> str:
        """Return the first line; nothing for JSON lines."""
        if self._job.written == "jsonl":
            return ""
        shares = [f"probability_{name}" for name in self._classes] if self._job.probabilities else []
        identifier = [self._job.identifier] if self._job.identifier else []
        return _csv(["row", *identifier, "label", "probability", *shares, "error"])

    def line(self, record: Record, said: Said) -> str:
        """Return one line of the file of answers."""
        label, share, shares = (None, None, [None] * len(self._classes)) if isinstance(said, str) else said
        error = said if isinstance(said, str) else None
        identifier = (record.cells or {}).get(self._job.identifier) if self._job.identifier else None
        if self._job.written == "csv":
            every = [_plain(one) for one in shares] if self._job.probabilities else []
            extra = [identifier] if self._job.identifier else []
            return _csv([record.number, *extra, label, _plain(share), *every, error])
        document: dict[str, Any] = {"row": record.number}
        if self._job.identifier:
            document[self._job.identifier] = identifier
        if error is not None:
            document["error"] = error
        else:
            document |= {"label": label, "probability": _plain(share)}
            if self._job.probabilities:
                document["probabilities"] = {name: _plain(one) for name, one in zip(self._classes, shares, strict=True)}
        return json.dumps(document, ensure_ascii=False) + "\n"


class _Stdout:
    """Standard output in place of a file: nothing to go on with later."""

    def __init__(self) -> None:
        from bakeoff.serving.outfile import Note

        self.start = self._now = Note(0, 0, 0, {})
        self._note = Note

    def append(self, block: bytes, rows: int, failed: int) -> None:
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
        was = self._now
        self._now = self._note(was.rows + rows, was.bytes + len(block), was.failed + failed, {})

    def finish(self) -> Any:  # noqa: ANN401 - a Note
        return self._now

    def close(self) -> None:
        pass


def _short(error: Exception) -> str:
    what = str(error) if isinstance(error, BakeoffError | ValueError) else type(error).__name__
    return " ".join(what.split())[:200]


def _after(job: Job, rows: int) -> str:
    """Say what to do once the model answers again."""
    if not _rewindable(job):
        return "the rows from there on, once it answers again"
    return f"the same with --resume, once it answers again: {rows} rows are done and kept"


def _out(job: Job, opened: Opened) -> Growing | _Stdout:
    if job.target == STDIN:
        return _Stdout()
    return Growing(job.target, _identity(job, opened), resume=job.resume)


def _identity(job: Job, opened: Opened) -> dict[str, Any]:
    """Return everything the answers depend on."""
    return {
        "input": _digest(job.source), "bundle": opened.version, "format": job.written,
        "probabilities": job.probabilities, "id": job.identifier, "encoding": job.encoding,
    }  # fmt: skip


def _check(job: Job) -> None:
    if job.batch < 1:
        what = "--batch must be at least 1"
        raise UserError(what, got=job.batch)
    if job.resume and not _rewindable(job):
        what = "--resume needs files on both sides: pipes, standard input and output cannot be wound back"
        raise UserError(what)
    if job.target != STDIN and job.target.exists() and not (job.force or job.resume):
        what = "the file exists already"
        raise UserError(what, where=str(job.target), try_="another name with -o, --force to replace it, or --resume")


def _rewindable(job: Job) -> bool:
    return STDIN not in {job.source, job.target} and job.source.is_file()


def _check_columns(job: Job, rows: Rows, opened: Opened) -> None:
    """Refuse a file whose header lacks a column: every answer would be wrong in the same way."""
    if rows.columns is None:
        return
    wanted = [column.name for column in opened.manifest.inputs] + ([job.identifier] if job.identifier else [])
    lacking = [name for name in wanted if name not in rows.columns]
    if lacking:
        what = f"the header lacks {', '.join(lacking)}"
        raise DataError(what, where=str(job.source), got=", ".join(rows.columns)[:200], allowed=wanted)


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, so that an earlier run is only gone on with on the very same input; a pipe has none."""
    if path == STDIN or not path.is_file():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _plain(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _csv(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
