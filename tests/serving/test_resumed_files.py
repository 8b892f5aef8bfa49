"""``bakeoff predict`` that goes on where it was stopped: no row lost or there twice, and one run at a time."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bakeoff import cli
from bakeoff.schema.errors import BundleError, UserError
from bakeoff.serving import files
from bakeoff.serving.files import Job, predict_file
from bakeoff.serving.model import open_bundle
from bakeoff.serving.outfile import Growing
from tests.serving.test_files import ENVIRONMENT, answers, command, sentences, write_csv


def test_two_runs_do_not_write_one_file(text_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_csv(tmp_path / "in.csv", sentences(200)), tmp_path / "out.csv"
    arguments = ["predict", str(text_bundle), str(source), "-o", str(out)]
    codes: list[int] = []

    def second(*_: Any) -> None:
        if not codes:
            codes.extend(cli.main([*arguments, *flags]) for flags in ([], ["--resume"], ["--force"]))

    assert predict_file(Job(bundle=text_bundle, source=source, target=out), second).rows == 200
    assert codes == [2, 2, 2]
    assert capsys.readouterr().err.count("another run is writing this file") == 3
    assert len(answers(out)) == 200


def test_a_file_that_was_finished_while_it_was_opened_is_left_alone(tmp_path: Path) -> None:
    """Between opening and locking the other run ends: what was opened is the finished file by now."""
    target = tmp_path / "out.csv"
    first = Growing(target, {}, resume=False)
    first.append(b"row\n", 1, 0)

    class Late(Growing):
        def _alone(self) -> None:
            first.finish()
            super()._alone()

    with pytest.raises(UserError, match="another run"):
        Late(target, {}, resume=False)
    assert target.read_bytes() == b"row\n"


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


def test_a_model_that_does_not_load_takes_no_earlier_answers_away(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_csv(tmp_path / "in.csv", sentences(5)), tmp_path / "out.csv"
    earlier = Growing(out, {}, resume=False)
    earlier.append(b"earlier\n", 1, 0)
    earlier.close()

    def fails(*_: Any) -> Any:
        what = "the model does not load"
        raise BundleError(what)

    monkeypatch.setattr(files, "load", fails)
    with pytest.raises(BundleError):
        predict_file(Job(bundle=text_bundle, source=source, target=out))
    assert (tmp_path / "out.csv.part").read_bytes() == b"earlier\n"


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
