"""``bakeoff predict``: the server's labels for whole files, whatever is in them and however often it is killed."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff import cli
from bakeoff.data.transforms.rule import Classifier
from bakeoff.delivery import rows as contract_rows
from bakeoff.serving import files
from bakeoff.serving.files import Job, predict_file
from bakeoff.serving.model import open_bundle
from bakeoff.serving.outfile import Growing
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


def test_it_survives_kill_9_at_any_moment(text_bundle: Path, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", sentences(30_000))
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    predict_file(Job(bundle=text_bundle, source=source, target=whole))
    draw, kills, resumed = random.Random(7), 0, set()
    for _ in range(40):
        process = subprocess.Popen(
            command(text_bundle, source, "-o", out, "--resume"),
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        part = tmp_path / "out.csv.part"
        size = part.stat().st_size if part.exists() else 0
        deadline = time.monotonic() + 30
        while (
            process.poll() is None
            and time.monotonic() < deadline
            and (not part.exists() or part.stat().st_size <= size)
        ):
            time.sleep(0.005)  # let every run get somewhere
        time.sleep(draw.random() * 0.05)
        if process.poll() is None and kills < 4:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, errors = process.communicate(timeout=120)
        if process.returncode != -signal.SIGKILL:  # it may have finished just before the signal
            assert process.returncode == 0, errors.decode()
            break
        if out.exists():  # it had finished, and was about to end: the next run finds nothing to do
            continue
        note = tmp_path / "out.csv.part.json"
        resumed.add(json.loads(note.read_text())["rows"] if note.exists() else 0)
    assert kills >= 2
    assert len(resumed) >= 2
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.csv",
        "out.csv",
        "out.csv.done.json",
        "whole.csv",
        "whole.csv.done.json",
    ]


def test_what_lies_beyond_the_note_is_computed_again(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the block and its note: the file is longer than the note says, and must not keep the surplus."""
    monkeypatch.setattr(files, "_BLOCK_ROWS", 100)
    source = write_csv(tmp_path / "in.csv", sentences(1000))
    predict_file(Job(bundle=text_bundle, source=source, target=tmp_path / "whole.csv"))

    class StopError(Exception):
        pass

    def stop(rows: int, _position: int, _total: int | None) -> None:
        if rows > 500:
            raise StopError

    job = Job(bundle=text_bundle, source=source, target=tmp_path / "out.csv", resume=True)
    with pytest.raises(StopError):
        predict_file(job, stop)
    part = tmp_path / "out.csv.part"
    note = json.loads((tmp_path / "out.csv.part.json").read_text())
    assert 0 < note["rows"] <= 500
    with part.open("ab") as stream:
        stream.write(b"half a li")
    found = predict_file(job)
    assert found.resumed_from == note["rows"]
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("change", ["input", "bundle", "probabilities", "short", "note"])
def test_another_input_is_not_gone_on_with(
    change: str, text_bundle: Path, mixed_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,text,age,city,note\n" + "k,很好,1,a,b\n" * 10, encoding="utf-8")
    out, part, note = (tmp_path / name for name in ("out.csv", "out.csv.part", "out.csv.part.json"))
    predict_file(Job(bundle=text_bundle, source=source, target=out))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    identity = {
        "input": digest, "bundle": open_bundle(text_bundle).version, "format": "csv", "probabilities": False, "id": None, "encoding": "auto",
    }  # fmt: skip
    growing = Growing(out, identity, resume=False)
    growing.append(b"row,label,probability,error\n1,good,1.0,\n", 1, 0)
    growing.close()
    bundle, flags = text_bundle, ["--resume"]
    if change == "input":
        source.write_text(source.read_text(encoding="utf-8") + "k,more,1,a,b\n", encoding="utf-8")
    elif change == "bundle":
        bundle = mixed_bundle
    elif change == "probabilities":
        flags.append("--probabilities")
    elif change == "short":
        os.truncate(part, 5)
    else:
        note.write_text("{")
    assert cli.main(["predict", str(bundle), str(source), "-o", str(out), *flags]) == 2
    said = capsys.readouterr().err
    assert {"short": "shorter", "note": "cannot be read"}.get(change, f"another {change}") in said
    assert cli.main(["predict", str(text_bundle), str(source), "-o", str(out), "--force"]) == 0


def test_a_finished_file_is_left_alone(text_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_csv(tmp_path / "in.csv", sentences(5))
    arguments = ["predict", str(text_bundle), str(source), "-o", str(tmp_path / "out.csv")]
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 5
    before = (tmp_path / "out.csv").stat().st_mtime_ns
    assert cli.main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main([*arguments, "--resume", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["already"], again["rows"]) == (True, 5)
    assert (tmp_path / "out.csv").stat().st_mtime_ns == before


def test_a_finished_file_of_something_else_is_not_taken_for_this_one(
    text_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write_csv(tmp_path / "a.csv", sentences(5)), write_csv(tmp_path / "b.csv", sentences(9))
    out = tmp_path / "out.csv"
    assert cli.main(["predict", str(text_bundle), str(first), "-o", str(out)]) == 0
    for other in ([str(second)], [str(first), "--probabilities"]):
        assert cli.main(["predict", str(text_bundle), *other, "-o", str(out), "--resume"]) == 2
        assert "not of this input" in capsys.readouterr().err
    out.with_name("out.csv.done.json").unlink()
    assert cli.main(["predict", str(text_bundle), str(first), "-o", str(out), "--resume"]) == 2


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
