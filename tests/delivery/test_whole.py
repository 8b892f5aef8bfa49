"""One ONNX file that needs nothing of ours: shipped where the model allows it, run as the README says, compared by verify."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.data.transforms.rule import Classifier
from bakeoff.delivery import rows as stored
from bakeoff.delivery import sealing, verify, whole, write_whole
from bakeoff.delivery.sealing import Seal
from bakeoff.models.base import Examples
from bakeoff.models.boosting import PLUGIN as BOOSTING
from bakeoff.runtimes import sealed
from bakeoff.runtimes.keys import Keys
from bakeoff.runtimes.loading import load_predictor
from bakeoff.schema.artifact import Artifact, InputColumn, Rule
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Contract
from bakeoff.schema.errors import BundleError, StepError
from tests.contracts._cases import INPUTS, TASKS, table_rows
from tests.delivery import making
from tests.models._contexts import context, variant

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
TEXTS = [
    "red apple",
    "green leaf",
    "blue sea",
    "",
    "Green  GREEN grass",
    "a red, red rose — and a blue one",
    "sea",
    "leaf",
]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "red",
    "green",
    "blue",
    "apple",
    "leaf",
    "sea",
    "grass",
    "rose",
    "a",
    "##s",
    ",",
    "one",
]


def _ship(root: Path, artifact: Artifact, runtime: str, rows: Examples, **changes: Any) -> Path:
    """Ship an artefact in ``root/artifact`` with its whole graph."""
    answers = Classifier(load_predictor(artifact, root / "artifact", runtime, 1), artifact).predict(rows.rows)
    graph = write_whole(root / "artifact", root, runtime=runtime, rows=rows.rows)
    chosen = making.candidate().model_copy(update={"runtime": runtime})
    decision = making.decision(chosen, making.METRICS, {"requirements.size.max": (1e8, "max", "B")})
    given: dict[str, Any] = {
        "decision": decision, "candidate": chosen, "artifact_dir": root / "artifact", "contract_rows": rows, "expected": answers, "whole": graph,
    }  # fmt: skip
    making.ship_(root, **{**given, **changes})
    return root / "bundle"


def _table(root: Path) -> tuple[Artifact, Examples]:
    """Boosted trees in their own format, with costs of mistakes: what becomes ONNX on the way."""
    train, test = table_rows(400, 0), table_rows(100, 1)
    chosen = variant(format="lightgbm", rounds=20)
    built = BOOSTING.build(
        context(root / "artifact", train, chosen, task=TASKS[1], inputs=INPUTS[TASKS[1]], classes=("ja", "nein"))
    )
    rule = Rule(temperature=1.4, costs=((0.0, 1.0), (5.0, 0.0)))
    return making.finish(built.model_copy(update={"rule": rule}), root / "artifact"), test


def _text(root: Path) -> tuple[Artifact, Examples]:
    """A network over WordPiece tokens, small but fed like any encoder; its mean counts padding, so rows go in one by one."""
    from tests.models.test_onnx_whole import _encoder_graph

    folder = root / "artifact"
    folder.mkdir()
    special = [{"id": at, "content": name, "lstrip": False, "single_word": False, "rstrip": False, "normalized": False, "special": True}
               for at, name in enumerate(WORDS[:5])]  # fmt: skip
    frame = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    normaliser = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    model = {
        "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": {word: at for at, word in enumerate(WORDS)},
    }  # fmt: skip
    described = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": normaliser,
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": frame, "decoder": None, "model": model,
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    _encoder_graph(folder, len(WORDS), 2)
    artifact = Artifact(
        format="onnx", task=TASKS[0], classes=making.CLASSES, inputs=(InputColumn(name="text", kind="text"),),
        transform={"kind": "hf-tokenizer", "tokenizer": "tokenizer.json", "columns": ["text"], "max_length": 8, "pad_id": 0},
        meta={"model": "model.onnx", "batch": 1}, rule=Rule(temperature=1.3),
    )  # fmt: skip
    rows = [{"text": text} for text in TEXTS]
    return making.finish(artifact, folder), Examples(rows, np.arange(len(rows)) % 2)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("table")
    artifact, rows = _table(root)
    return _ship(root, artifact, "native", rows)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime_extensions")
    root = tmp_path_factory.mktemp("text")
    artifact, rows = _text(root)
    return _ship(root, artifact, "onnxruntime", rows)


@pytest.mark.parametrize("name", ["table", "text"])
def test_verify_compares_it_on_the_stored_rows(name: str, request: pytest.FixtureRequest) -> None:
    bundle: Path = request.getfixturevalue(name)
    report = verify(bundle, quick=True, keys=Keys())
    assert report.kept
    assert report.whole is not None
    assert report.whole.rows == report.whole.same_labels == report.rows > 0
    assert report.whole.largest_drift is not None
    assert 0.0 <= report.whole.largest_drift < 1e-4
    assert f"whole.onnx: {report.rows} of {report.rows} rows" in report.text("en")
    assert f"whole.onnx：{report.rows}/{report.rows} 行" in report.text("zh")


def test_it_is_not_kept_for_its_labels_alone() -> None:
    seen = whole.WholeSeen(rows=9, same_labels=9, largest_drift=0.4)
    assert not seen.kept
    assert seen.model_copy(update={"largest_drift": 1e-4}).kept


@pytest.mark.parametrize("name", ["table", "text"])
def test_manifest_and_bill_of_materials_list_it(name: str, request: pytest.FixtureRequest) -> None:
    bundle: Path = request.getfixturevalue(name)
    listed = {entry.path: entry.sha256 for entry in sealed.read_manifest(bundle).files}
    bill = json.loads((bundle / "sbom.cdx.json").read_bytes())
    model = next(part for part in bill["components"] if part["bom-ref"] == "model")
    hashes = {part["name"]: part["hashes"][0]["content"] for part in model["components"]}
    assert listed[whole.WHOLE] == hashes[whole.WHOLE] == sealed.digest(bundle / whole.WHOLE)


@pytest.mark.parametrize("name", ["table", "text"])
def test_the_readmes_six_lines_run_without_our_package(name: str, request: pytest.FixtureRequest) -> None:
    bundle: Path = request.getfixturevalue(name)
    chinese, _, english = (bundle / "README.md").read_text(encoding="utf-8").partition("\n---\n")
    found = [re.search(r"```python\n(.*?)```", part, re.DOTALL) for part in (chinese, english)]
    assert found[0]
    assert found[1]
    assert found[0][1] == found[1][1]
    code = found[0][1]
    assert code.count("\n") == 6
    barred = "import sys; sys.modules['bakeoff'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", barred + code], cwd=bundle, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in sealed.read_manifest(bundle).classes


def test_costs_and_temperature_are_inside(table: Path) -> None:
    """The label is the one of least expected cost, which is not the most probable one on every row."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(table / whole.WHOLE))
    artifact = Artifact.model_validate_json((table / "model/artifact.json").read_bytes())
    (feeds,) = whole._feeds(session, artifact, table_rows(100, 1).rows, text=False)
    probabilities, labels = session.run(["probabilities", "label"], feeds)
    assert list(labels) != [artifact.classes[at] for at in probabilities.argmax(axis=1)]


def test_a_graph_that_answers_otherwise_is_neither_shipped_nor_kept(tmp_path: Path) -> None:
    artifact, rows = _table(tmp_path)
    bent = artifact.model_copy(update={"rule": Rule(temperature=9.0, costs=((0.0, 50.0), (1.0, 0.0)))})
    (tmp_path / "bent").mkdir()
    for entry in artifact.files:
        (tmp_path / "bent" / entry.path).write_bytes((tmp_path / "artifact" / entry.path).read_bytes())
    making.finish(bent, tmp_path / "bent")
    graph = write_whole(tmp_path / "bent", tmp_path / "bent", runtime="native", rows=rows.rows)
    with pytest.raises(StepError, match=r"whole\.onnx changes"):
        _ship(tmp_path, artifact, "native", rows, whole=graph)
    assert not (tmp_path / "bundle").exists()
    bundle = _ship(tmp_path, artifact, "native", rows, whole=None)
    (bundle / whole.WHOLE).write_bytes(graph.read_bytes())
    manifest = sealed.read_manifest(bundle)
    for name in ("manifest.json", "manifest.sha256"):
        (bundle / name).unlink()
    sealing.close(bundle, manifest, Seal())
    report = verify(bundle, quick=True, keys=Keys())
    assert report.parity
    assert report.whole is not None
    assert report.whole.same_labels < report.whole.rows
    assert not report.kept


def test_what_cannot_be_one_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    artifact = making.tfidf(tmp_path / "artifact")
    assert artifact.format == "tfidf-linear"
    with pytest.raises(StepError, match="n-grams") as caught:
        write_whole(tmp_path / "artifact", tmp_path, runtime="native", rows=making.reviews(20, 3).rows)
    assert caught.value.code == "unsupported"
    assert caught.value.try_ == "ship it without --whole"


def test_unigram_tokenizers_are_refused_with_the_reason(tmp_path: Path) -> None:
    from tests.models import tiny

    artifact, _ = _text(tmp_path)
    (tmp_path / "artifact/tokenizer.json").write_text(json.dumps(tiny.tokenizer("Unigram")), encoding="utf-8")
    making.finish(artifact, tmp_path / "artifact")
    with pytest.raises(StepError, match=r"WordPiece.*Unigram"):
        write_whole(tmp_path / "artifact", tmp_path)


def test_it_is_not_shipped_encrypted(tmp_path: Path) -> None:
    artifact, rows = _table(tmp_path)
    with pytest.raises(BundleError, match="without Bakeoff"):
        _ship(tmp_path, artifact, "native", rows, seal=Seal(secret=bytes(32)))


def test_without_the_operators_nothing_is_claimed(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        whole, "find_spec", lambda name: None if "extensions" in name else importlib.util.find_spec(name)
    )
    artifact = Artifact.model_validate_json((text / "model/artifact.json").read_bytes())
    contract = Contract.model_validate_json((text / "contract.json").read_bytes())
    rows = stored.read(text / stored.FILE, artifact.classes, most=contract.rows)
    seen = whole.compare((text / whole.WHOLE).read_bytes(), artifact, rows, 1)
    assert (seen.rows, seen.kept) == (0, True)
    assert "not checked here: onnxruntime-extensions is not installed" in seen.said().en
    assert isinstance(seen.reason, Words)
    assert "没有安装" in seen.said().zh
