"""``bakeoff predict``: the server's labels for whole files, whatever is in them and however often it is killed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff import cli
from bakeoff.data.transforms.rule import Classifier
from bakeoff.delivery import rows as contract_rows
from bakeoff.schema.errors import BundleError, StepError
from bakeoff.serving.files import Job, predict_file
from bakeoff.serving.model import open_bundle
from tests.serving.running import SRC, Running

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    words = ("很好", "满意", "great", "awful", "失望", "糟糕", "屏幕", "a, comma", 'a "quote"', "two\nlines")
    return [" ".join(draw.choices(words, k=draw.randint(1, 6))) for _ in range(count)]


def write_csv(path: Path, rows: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([[f"k{index}", text] for index, text in enumerate(rows)])
    return path


def answers(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "bakeoff.cli", "predict", *map(str, arguments)]


def test_every_contract_row_gets_the_trials_label(text_bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(text_bundle)
    known = contract_rows.read(text_bundle / contract_rows.FILE, opened.manifest.classes)
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(json.dumps(dict(row), ensure_ascii=False) for row in known.rows), encoding="utf-8")
    found = predict_file(Job(bundle=text_bundle, source=source, target=tmp_path / "out.jsonl", probabilities=True))
    said = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (found.rows, found.failed) == (200, 0)
    assert [one["label"] for one in said] == [opened.manifest.classes[index] for index in known.expected.tolist()]
    shares = np.array([[one["probabilities"][name] for name in opened.manifest.classes] for one in said])
    assert np.abs(shares - known.probabilities).max() < 1e-6
    assert [one["row"] for one in said] == list(range(1, 201))


def test_labels_are_those_of_the_server(texts: Running, text_bundle: Path, tmp_path: Path) -> None:
    rows = sentences(60)
    predict_file(
        Job(
            bundle=text_bundle,
            source=write_csv(tmp_path / "in.csv", rows),
            target=tmp_path / "out.csv",
            identifier="id",
        )
    )
    said = answers(tmp_path / "out.csv")
    served = []
    for start in range(0, 60, 20):
        answer = texts.client.post("/v1/predict", json={"texts": [row.strip() for row in rows[start : start + 20]]})
        served += [one["label"] for one in answer.json()["predictions"]]
    assert [one["label"] for one in said] == served
    assert [one["id"] for one in said] == [f"k{index}" for index in range(60)]
    assert list(said[0]) == ["row", "id", "label", "probability", "error"]


def test_bad_rows_get_an_error_and_the_others_a_label(mixed_bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("age,city,note\n30,上海,很好\nold,上海,很好\n,,\n1,2\n40,,fine\n", encoding="utf-8")
    found = predict_file(Job(bundle=mixed_bundle, source=source, target=tmp_path / "out.csv"))
    said = answers(tmp_path / "out.csv")
    assert (found.rows, found.failed) == (4, 2)  # a line of empty cells is no row
    assert [bool(one["label"]) for one in said] == [True, False, False, True]
    assert [one["error"] for one in said] == ["", "age: not a number", "2 cells, but the header has 3", ""]


def test_a_row_the_model_cannot_take_does_not_spoil_its_batch(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Classifier.predict

    def poisoned(self: Classifier, rows: Any) -> Any:
        if any("POISON" in row["text"] for row in rows):
            message = "out of range"
            raise ValueError(message)
        return real(self, rows)

    rows = sentences(100)
    rows[13] = rows[77] = "POISON"
    source = write_csv(tmp_path / "in.csv", rows)
    monkeypatch.setattr(Classifier, "predict", poisoned)
    found = predict_file(Job(bundle=text_bundle, source=source, target=tmp_path / "out.csv", batch=32))
    said = answers(tmp_path / "out.csv")
    assert (found.rows, found.failed) == (100, 2)
    assert [index for index, one in enumerate(said) if one["error"]] == [13, 77]
    assert said[13]["error"] == "the model cannot answer: out of range"


class Outage:
    """Stands for ``Classifier.predict``: answers until ``rows`` rows were, then nothing until it is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int, poison: str = "POISON") -> None:
        self.left, self.poison, self.in_vain, self.over = rows, poison, 0, False
        self._real = Classifier.predict
        outage = self

        def predict(self: Classifier, rows: Any) -> Any:
            return outage.predict(self, rows)

        monkeypatch.setattr(Classifier, "predict", predict)

    def predict(self, classifier: Classifier, rows: Any) -> Any:
        """Return labels (n,) and probabilities (n, k), or not."""
        if any(self.poison in row["text"] for row in rows):
            message = "out of range"
            raise ValueError(message)
        self.left -= len(rows)
        if self.left < 0 and not self.over:
            self.in_vain += 1
            message = "connection failed"
            raise StepError("unavailable", message)
        return self._real(classifier, rows)


def test_a_model_that_stops_answering_ends_the_run_and_resume_goes_on_from_there(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = sentences(300)
    rows[40] = "POISON"
    source, out = write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        Outage(patch, 10_000)
        predict_file(Job(bundle=text_bundle, source=source, target=tmp_path / "whole.csv"))
    outage = Outage(monkeypatch, 3 + 1 + 250)  # the warm-up, and the canary that was asked before row 41 was blamed
    assert cli.main(["predict", str(text_bundle), str(source), "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "the model answers nothing any more, from row" in said
    assert "connection failed" in said
    assert "--resume" in said
    assert outage.in_vain == 2  # the batch and the canary, not two for every row that was left
    assert not out.exists()
    note = json.loads((tmp_path / "out.csv.part.json").read_text())
    assert (note["rows"], note["failed"]) == (192, 1)
    outage.over = True
    assert cli.main(["predict", str(text_bundle), str(source), "-o", str(out), "--resume"]) == 0
    assert "300 rows, 1 failed" in capsys.readouterr().out
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_rows_after_a_bad_one_are_not_blamed_for_an_outage(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad row was found already, so the model worked a moment ago: rows that fail after it are not bad for that."""
    rows = sentences(8)
    rows[2] = "POISON"
    source, out = write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv"
    Outage(monkeypatch, 3 + 1 + 3)  # warm-up, canary, the good rows of the first half: the second finds nobody
    with pytest.raises(BundleError, match="from row 1 on"):
        predict_file(Job(bundle=text_bundle, source=source, target=out, batch=8))
    assert not out.exists()


def test_a_file_of_nothing_but_errors_is_no_success(
    text_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text("{\n[]\n")
    arguments = ["predict", str(text_bundle), str(source), "-o", str(out)]
    assert cli.main(arguments) == 3
    assert "2 rows, 2 failed" in capsys.readouterr().out
    assert cli.main([*arguments, "--resume"]) == 3
    assert "2 failed" in capsys.readouterr().out
    source.write_text('{\n{"text": "很好"}\n', encoding="utf-8")
    assert cli.main([*arguments, "--force"]) == 0


def test_a_pipe_is_read_once(text_bundle: Path, tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe.csv", tmp_path / "out.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("text\n很好 满意\n",), kwargs={"encoding": "utf-8"})
    writer.start()
    assert predict_file(Job(bundle=text_bundle, source=pipe, target=out, encoding="utf-8")).rows == 1
    writer.join(10)


def test_pipes_on_both_sides(text_bundle: Path) -> None:
    lines = "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in ("很好 满意", "糟糕 失望")).encode()
    done = subprocess.run(
        command(text_bundle, "-", "-o", "-", "--format", "jsonl"),
        input=lines,
        capture_output=True,
        env=ENVIRONMENT,
        check=True,
    )
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["good", "bad"]
    assert b"2 rows" in done.stderr
    assert b"\x1b" not in done.stderr  # no bar where no terminal is


def test_a_bar_shows_on_a_terminal_and_only_there(text_bundle: Path, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", sentences(3000))
    ours, theirs = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        command(text_bundle, source, "-o", "-"), stdout=subprocess.PIPE, stderr=theirs, env=environment
    )
    os.close(theirs)
    seen: list[bytes] = []

    def watch() -> None:
        with contextlib.suppress(OSError):  # the terminal is gone when its last user is
            while part := os.read(ours, 4096):
                seen.append(part)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate(timeout=60)
    watcher.join(10)
    os.close(ours)
    assert process.returncode == 0
    assert output.count(b"\n") == 3001
    assert b"\x1b" not in output
    shown = b"".join(seen)
    assert b"100 %" in shown
    assert b"3,000" in shown


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-", "-o", "out.csv", "--resume"], "wound back"),
        (["in.csv", "-o", "out.csv", "--batch", "0"], "at least 1"),
        (["in.csv", "-o", "-", "--json"], "both want standard output"),
        (["none.csv", "-o", "out.csv"], "no such file"),
        (["wrong.csv", "-o", "out.csv"], "lacks text"),
        (["in.csv", "-o", "out.csv", "--id", "key"], "lacks key"),
        (["in.csv", "-o", "no/such/folder/out.csv"], "cannot be written"),
    ],
)
def test_mistakes_are_named(
    flags: list[str],
    said: str,
    text_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "in.csv", sentences(3))
    (tmp_path / "wrong.csv").write_text("id,review\n1,fine\n")
    assert cli.main(["predict", str(text_bundle), *flags]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells no peak of its own")
def test_memory_does_not_grow_with_the_file(text_bundle: Path, tmp_path: Path) -> None:
    peaks = []
    for count in (1_000, 50_000):
        source = tmp_path / "in.csv"
        source.write_text(
            "text\n" + "很好 的 一句 话 some words of a review that say very little in the end\n" * count,
            encoding="utf-8",
        )
        program = (
            "import sys; from bakeoff import cli; assert cli.main(sys.argv[1:]) == 0;"
            "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        )
        arguments = ["predict", str(text_bundle), str(source), "-o", str(tmp_path / "out.csv"), "--force"]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=ENVIRONMENT, check=True
        )
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < peaks[0] + 8_000  # KiB; the rows of the larger one would take some 25,000
