"""The contract re-tested: kept, broken, refused; and every way a bundle can be tampered with."""

from __future__ import annotations

import gzip
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.cli import main
from bakeoff.delivery import VerifyReport, rows, sealing, verify
from bakeoff.delivery.verify import judge
from bakeoff.evaluation.parity import EXPORT_DRIFT
from bakeoff.runtimes import sealed
from bakeoff.schema.artifact import FileEntry
from bakeoff.schema.contract import Promise
from bakeoff.schema.errors import BundleError
from bakeoff.schema.measurement import Measurement
from bakeoff.serving.model import open_bundle
from tests.delivery import making


def reseal(bundle: Path) -> None:
    """Write the manifest anew after a change, as someone who controls the whole folder could."""
    manifest = sealed.read_manifest(bundle)
    for name in (sealed.MANIFEST, sealed.CHECKSUM):
        (bundle / name).unlink()
    sealing.close(bundle, manifest, sealing.Seal())


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file."""
    document = json.loads(path.read_text())
    path.write_text(json.dumps(change(document) or document))


def test_an_untouched_bundle_keeps_its_contract(shipped: Path) -> None:
    report = verify(shipped)
    assert report.parity
    assert report.kept
    assert (report.rows, report.same_labels) == (200, 200)
    assert report.largest_drift is not None
    assert report.largest_drift < 1e-6
    assert {found.promise.name: found.verdict for found in report.promises} == {
        "latency_p95": "kept", "macro_f1": "kept", "memory": "kept", "size": "kept",
    }  # fmt: skip
    assert {found.name for found in report.latency} >= {"latency_p50", "latency_p95"}
    assert report.p95_ratio is not None
    assert report.p95_ratio > 0
    assert VerifyReport.model_validate_json(report.model_dump_json()) == report
    assert report.untold == ()
    assert "the contract holds: 4 of 4 promises kept; " in report.text("en")
    assert "契约成立：4 项承诺中 4 项兑现；" in report.text("zh")


def test_a_quick_look_times_nothing(shipped: Path) -> None:
    report = verify(shipped, quick=True)
    verdicts = {found.promise.name: found.verdict for found in report.promises}
    assert verdicts == {"latency_p95": "refused", "macro_f1": "kept", "memory": "kept", "size": "kept"}
    assert report.latency == ()
    assert report.kept
    assert report.untold == ("latency_p95",)


def test_the_text_says_the_same_in_both_languages(shipped: Path) -> None:
    report = verify(shipped, quick=True)
    chinese, english = report.text("zh"), report.text("en")
    assert "能判定的部分成立：4 项承诺中 3 项兑现；无法判定：latency_p95；" in chinese
    assert "what could be told holds: 3 of 4 promises kept; cannot be told: latency_p95;" in english
    assert chinese.count("\n") == english.count("\n") == 2 + len(report.promises)
    assert "200" in chinese
    assert "200" in english


def test_promises_that_cannot_be_kept_are_broken(tmp_path: Path) -> None:
    limits = {
        "requirements.quality.floor": (0.999, "min", ""), "requirements.latency.p95": (1e-7, "max", "s"),
        "requirements.memory.max": (1e6, "max", "B"), "requirements.size.max": (10.0, "max", "B"),
    }  # fmt: skip
    making.bundle(tmp_path, decision=making.decision(making.candidate(), making.METRICS, limits))
    report = verify(tmp_path / "bundle")
    verdicts = {found.promise.name: found.verdict for found in report.promises}
    assert verdicts == {"latency_p95": "broken", "macro_f1": "broken", "memory": "broken", "size": "broken"}
    assert report.parity
    assert not report.kept
    assert "does not hold" in report.text()


def test_throughput_is_measured_within_the_latency_limit(tmp_path: Path) -> None:
    limits = {"requirements.latency.p95": (0.5, "max", "s"), "requirements.throughput.min": (5.0, "min", "1/s")}
    making.bundle(tmp_path, decision=making.decision(making.candidate(), making.METRICS, limits))
    found = {found.promise.name: found for found in verify(tmp_path / "bundle").promises}
    assert found["throughput"].verdict == "kept"
    assert (found["throughput"].here.value or 0) > 5


def test_without_rows_quality_and_latency_are_refused_with_the_reason(tmp_path: Path) -> None:
    making.bundle(tmp_path, rows=False)
    report = verify(tmp_path / "bundle")
    verdicts = {found.promise.name: found for found in report.promises}
    assert verdicts["macro_f1"].verdict == verdicts["latency_p95"].verdict == "refused"
    assert "no contract rows" in verdicts["macro_f1"].reason.en
    assert verdicts["memory"].verdict == "kept"
    assert report.rows == 0
    assert report.untold == ("answers", "latency_p95", "macro_f1")


def test_strict_counts_what_could_not_be_told(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {"requirements.quality.floor": (0.8, "min", ""), "requirements.size.max": (1e8, "max", "B")}
    making.bundle(tmp_path, decision=making.decision(making.candidate(), making.METRICS, limits))
    codes = {}
    for name, bundle in (("timed", shipped), ("untimed", tmp_path / "bundle")):
        for flags in ([], ["--strict"]):
            codes[name, len(flags)] = main(["verify", str(bundle), "--quick", "--json", *flags])
    assert codes == {("timed", 0): 0, ("timed", 1): 4, ("untimed", 0): 0, ("untimed", 1): 0}
    assert '"untold": [\n    "latency_p95"\n  ]' in capsys.readouterr().out


def test_other_answers_than_the_trials_are_noticed(copy: Path) -> None:
    def other_rule(document: dict[str, Any]) -> None:
        document["rule"] = {"temperature": 1.0, "costs": [[0.0, 1.0], [30.0, 0.0]]}

    edit(copy / "model" / "artifact.json", other_rule)
    reseal(copy)
    report = verify(copy, quick=True)
    assert not report.parity
    assert not report.kept
    assert report.same_labels < report.rows


def test_other_probabilities_under_the_same_labels_are_noticed(copy: Path) -> None:
    edit(copy / "model" / "artifact.json", lambda document: document.update(rule={"temperature": 50.0}))
    reseal(copy)
    report = verify(copy, quick=True)
    assert report.same_labels == report.rows
    assert report.largest_drift is not None
    assert report.largest_drift > report.allowed_drift == EXPORT_DRIFT
    assert not report.parity
    assert not report.kept
    assert "(0.001 allowed)" in report.text("en")


@pytest.mark.parametrize(
    ("bits", "moved", "kept"), [(32, 5e-4, True), (32, 2e-2, False), (8, 2e-2, True), (8, 6e-2, False)]
)
def test_how_far_answers_may_drift_depends_on_the_arithmetic(
    copy: Path, bits: int, moved: float, *, kept: bool
) -> None:
    """The trial's answers are moved instead of the processor being exchanged."""
    if bits == 8:
        edit(copy / "model" / "artifact.json", lambda document: document["meta"].update(compression="static_int8"))
    path = copy / rows.FILE
    stored = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    for row in stored:
        row["probabilities"] = [row["probabilities"][0] + moved, row["probabilities"][1] - moved]
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in stored).encode()))
    reseal(copy)
    report = verify(copy, quick=True)
    assert report.largest_drift == pytest.approx(moved, abs=1e-5)
    assert report.kept is kept


LIMIT = Promise(
    name="latency_p95", direction="max", limit=1.0, unit="s", trial=Measurement(name="latency_p95", value=0.5)
)


@pytest.mark.parametrize(
    ("low", "value", "high", "validity", "verdict"),
    [
        (0.5, 0.6, 0.7, "valid", "kept"), (0.5, 0.6, 0.7, "noisy", "kept"), (1.1, 1.2, 1.3, "valid", "broken"),
        (0.9, 1.2, 1.3, "valid", "refused"), (0.9, 1.2, 1.3, "noisy", "refused"), (0.9, 0.95, 1.01, "valid", "refused"),
        (1.1, 1.2, None, "valid", "broken"), (None, 0.9, None, "valid", "kept"), (None, 1.1, None, "valid", "broken"),
        (0.5, 1.0, 1.0, "valid", "kept"), (1.5, None, None, "refused", "broken"), (0.5, None, None, "refused", "refused"),
    ],
)  # fmt: skip
def test_latency_is_judged_by_its_whole_interval(
    low: Any, value: float, high: Any, validity: Any, verdict: str
) -> None:
    here = Measurement(name="latency_p95", value=value, low=low, high=high, validity=validity, n=100, remark="why")
    assert judge(LIMIT, here).verdict == verdict


def test_quality_is_judged_by_its_value_because_the_rows_are_the_trials() -> None:
    floor = Promise(
        name="macro_f1", direction="min", limit=0.8, unit="", trial=Measurement(name="macro_f1", value=0.81)
    )
    for value, verdict in ((0.81, "kept"), (0.8, "kept"), (0.79, "broken")):
        assert judge(floor, Measurement(name="macro_f1", value=value, low=0.7, high=0.9)).verdict == verdict


# --- tampering


def test_every_single_file_is_guarded(shipped: Path, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    shutil.copytree(shipped, target)
    for entry in sealed.read_manifest(shipped).files:
        path = target / entry.path
        for harm in ("flip", "append", "truncate", "remove", "link"):
            _harm(path, harm, tmp_path / "moved")
            with pytest.raises(BundleError, match=entry.path.split("/")[-1].replace(".", "\\.")):
                open_bundle(target)
            path.unlink(missing_ok=True)
            shutil.copyfile(shipped / entry.path, path)
    open_bundle(target)


def _harm(path: Path, harm: str, away: Path) -> None:
    content = path.read_bytes()
    if harm == "flip":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif harm == "append":
        path.write_bytes(content + b"\n")
    elif harm == "truncate":
        path.write_bytes(content[:-1])
    elif harm == "remove":
        path.unlink()
    else:
        path.rename(away)
        path.symlink_to(away)


@pytest.mark.parametrize("kind", ["file", "hidden", "folder with file", "link to folder"])
def test_anything_added_is_refused(copy: Path, kind: str) -> None:
    if kind == "link to folder":
        (copy / "extra").symlink_to(copy / "model")
    elif kind == "folder with file":
        (copy / "model" / "sub").mkdir()
        (copy / "model" / "sub" / "x.json").write_text("{}")
    else:
        (copy / ("model/extra.json" if kind == "file" else ".hidden")).write_text("{}")
    with pytest.raises(BundleError, match="not in the manifest"):
        verify(copy, quick=True)


def test_renamed_and_swapped_files_are_refused(copy: Path) -> None:
    one, other = copy / "model" / "weights.npz", copy / "model" / "vocabulary.json"
    one.rename(copy / "swap")
    other.rename(one)
    (copy / "swap").rename(other)
    with pytest.raises(BundleError, match=r"vocabulary\.json.*weights\.npz"):
        verify(copy, quick=True)


@pytest.mark.parametrize("name", [sealed.MANIFEST, sealed.CHECKSUM])
def test_a_folder_in_place_of_a_file_is_refused_and_leaves_no_descriptor_open(copy: Path, name: str) -> None:
    (copy / name).unlink()
    (copy / name).mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(BundleError, match=r"manifest\.(json|sha256)"):
            open_bundle(copy)
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 5


def test_a_bundle_exchanged_while_it_is_verified_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked and what is measured afterwards, in another process, must be the same bundle."""

    def exchange(_: Any) -> int:
        making.bundle(copy.parent / "another", decision=making.decision(making.candidate(), {}))
        shutil.rmtree(copy)
        shutil.copytree(copy.parent / "another" / "bundle", copy)
        return 0

    monkeypatch.setattr(importlib.import_module("bakeoff.delivery.verify"), "_requests", exchange)
    with pytest.raises(BundleError, match="another bundle than the one that was opened first"):
        verify(copy)


BAD_PATHS = [
    "../outside", "/etc/passwd", "a/../../b", "..", ".", "", "a//b", "a/./b", "a\\b", "..\\x", "C:\\x", "c:x", "a/", "a\x00b", "a\nb",
    "~/x\t", "x" * 2000,
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_out_of_the_bundle_are_refused(copy: Path, path: str) -> None:
    with pytest.raises(BundleError, match="plain relative path"):
        sealed.contained(copy, path)

    def name(document: dict[str, Any]) -> None:
        document["files"].append({"path": path, "sha256": "0" * 64, "size": 1})

    edit(copy / "manifest.json", name)
    with pytest.raises(BundleError):
        open_bundle(copy)


@given(st.text(max_size=60))
def test_whatever_is_contained_lies_inside(path: str) -> None:
    root = Path("/bundle-that-is-not-there")
    try:
        found = sealed.contained(root, path)
    except BundleError:
        return
    assert found.resolve().is_relative_to(root)
    assert found != root
    assert found.relative_to(root).as_posix() == path


def test_a_path_through_a_link_is_refused(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("x")
    (copy / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="symbolic links"):
        sealed.contained(copy, "link/x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"schema_version": 9}',
        b"\xff\xfe",
        b"\x80\x04\x95",
        b"{" * 100_000,
        b" " * (5 << 20),
    ],
)
def test_a_damaged_manifest_is_a_clear_error(copy: Path, content: bytes) -> None:
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError):
        verify(copy)


def test_unknown_fields_and_double_paths_are_refused(copy: Path) -> None:
    edit(copy / "manifest.json", lambda document: {**document, "run": "evil.sh"})
    with pytest.raises(BundleError, match="run"):
        verify(copy)


def test_the_same_path_twice_in_other_letters_is_refused(copy: Path) -> None:
    listed = sealed.read_manifest(copy).files
    double = FileEntry(path="readme.MD", sha256=listed[0].sha256, size=listed[0].size)
    assert any("twice" in problem for problem in sealed.problems(copy, [*listed, double]))


@pytest.mark.parametrize("name", ["contract.json", "model/artifact.json"])
def test_damaged_records_are_clear_errors_even_with_right_hashes(copy: Path, name: str) -> None:
    for content in ("{}", "not json", '{"format": "x"}'):
        (copy / name).write_text(content)
        reseal(copy)
        with pytest.raises(BundleError, match=name.rsplit("/", 1)[-1]):
            verify(copy, quick=True)


def test_a_model_of_another_bundle_is_noticed(copy: Path) -> None:
    edit(copy / "model" / "artifact.json", lambda document: document.update(classes=["a", "b"]))
    reseal(copy)
    with pytest.raises(BundleError, match="belong together"):
        verify(copy, quick=True)


@pytest.mark.parametrize("kind", ["garbage", "not json", "other label", "fewer", "gone"])
def test_damaged_contract_rows_are_clear_errors(copy: Path, kind: str) -> None:
    path = copy / rows.FILE
    lines = gzip.decompress(path.read_bytes()).splitlines()
    if kind == "gone":
        path.unlink()
    elif kind == "garbage":
        path.write_bytes(b"\x1f\x8b garbage")
    else:
        changed = {
            "not json": [b"{"],
            "other label": [lines[0].replace(b'"actual": "', b'"actual": "x')],
            "fewer": lines[:-1],
        }[kind]
        path.write_bytes(gzip.compress(b"\n".join(changed)))
    reseal(copy)
    with pytest.raises(BundleError):
        verify(copy, quick=True)


def test_a_model_that_does_not_load_is_a_clear_error(copy: Path) -> None:
    np.savez(copy / "model" / "weights.npz", something=np.zeros(3))
    reseal(copy)
    with pytest.raises(BundleError, match="does not"):
        verify(copy, quick=True)


def test_a_folder_that_is_no_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="bakeoff ship"):
        verify(tmp_path)
    with pytest.raises(BundleError):
        verify(tmp_path / "nothing")
