"""Every format a runtime loads, as a bundle: plain and encrypted, opened under an audit hook that knows what a bundle must not do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bakeoff import registry
from bakeoff.delivery import ship
from bakeoff.delivery.sealing import Seal
from bakeoff.runtimes.keys import DECRYPT
from bakeoff.schema import Candidate, Decision, Metric, Variant, Words
from tests.contracts._cases import Built, Workshop, rows_of
from tests.contracts.test_runtimes import Load, _loads
from tests.delivery import making
from tests.serving.running import running

LOADS = [load for load in _loads() if load.case is not None and load.format != "openai-prompt"]
"""A remote model has no files to open, and what it does is to connect."""
KEY = "ab" * 32


def _ship(built: Built, runtime: str, out: Path, seal: Seal) -> None:
    said = Words(zh="模型", en="model")
    chosen = Candidate(family="linear", variant=Variant(name="small", label=said), runtime=runtime, label=said)
    decision: Decision = making.decision(chosen, {"size": Metric(value=1.0, n=1, unit="B")})
    ship(
        decision=decision, candidate=chosen, artifact_dir=built.directory, contract_rows=None, expected=None, out=out, packages={},
        spec=making.spec(), seal=seal,
    )  # fmt: skip


@pytest.fixture(scope="module")
def answers(
    workshop: Workshop, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """What every bundle answered that is asked about in this run, and what it was seen doing; one process opens them all."""
    root, jobs = tmp_path_factory.mktemp("delivered"), {}
    secret = Seal(secret=bytes.fromhex(KEY))
    asked = [
        item.callspec.params.get("load")
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    ]
    for load in LOADS:
        assert load.case is not None
        if not any(one is load for one in asked):
            continue
        if load.case.obstacle() or registry.missing(registry.plugin("runtimes", load.runtime).traits.needs):
            continue
        built = _described(load, workshop)
        rows = rows_of(load.case)[:4]
        for kind, seal in (("plain", Seal()), ("encrypted", secret)):
            name = f"{load.runtime}.{load.format}.{kind}"
            _ship(built, load.runtime, root / name, seal)
            jobs[name] = {
                "bundle": str(root / name),
                "rows": rows,
                "decrypt": f"env:{DECRYPT}" if seal.secret else None,
            }
    done = subprocess.run(
        [sys.executable, "-m", "tests.contracts._watched"], input=json.dumps(jobs), capture_output=True, text=True, check=False,
        env={**os.environ, DECRYPT: KEY, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout[done.stdout.index("{") :])


def _described(load: Load, workshop: Workshop) -> Built:
    """Return a copy of the artefact with the ``artifact.json`` that a build step writes; the workshop's is everybody's."""
    built, copy = load.built(workshop), workshop.place()
    shutil.copytree(built.directory, copy, dirs_exist_ok=True)
    return Built(making.finish(built.artifact, copy), copy)


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADS, ids=lambda load: f"{load.runtime}.{load.format}")
def test_a_bundle_runs_no_code_of_its_own(load: Load, answers: dict[str, Any]) -> None:
    plain = _answer(load, answers, "plain")
    assert plain["seen"] == []
    assert len(plain["labels"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADS, ids=lambda load: f"{load.runtime}.{load.format}")
def test_an_encrypted_bundle_answers_the_same_from_memory(load: Load, answers: dict[str, Any]) -> None:
    plain, encrypted = _answer(load, answers, "plain"), _answer(load, answers, "encrypted")
    assert encrypted["seen"] == []
    assert encrypted["labels"] == plain["labels"]
    for one, other in zip(encrypted["probabilities"], plain["probabilities"], strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_a_server_does_nothing_else_while_it_answers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened, loaded, asked over HTTP, stopped, all of it watched; what a request names stays closed as well."""
    if kind == "encrypted":
        monkeypatch.setenv(DECRYPT, KEY)
    making.bundle(tmp_path, seal=Seal(secret=bytes.fromhex(KEY) if kind == "encrypted" else None))
    program = "import sys; from pathlib import Path; from tests.contracts._watched import serve; sys.exit(serve(Path('seen.json'), sys.argv[1:]))"
    with running(tmp_path / "bundle", tmp_path, script=program) as server:
        for text in (
            "很好 满意",
            "/etc/passwd",
            "../manifest.json",
            "file:///etc/passwd",
            "__import__('os').system('id')",
        ):
            assert server.client.post("/v1/predict", json={"texts": [text]}).status_code == 200
        for path in (
            "/",
            "/docs",
            "/openapi.json",
            "/v1/status",
            "/metrics",
            "/v2",
            "/readyz",
            "/../../etc/passwd",
            "/%2e%2e/manifest.json",
        ):
            assert server.client.get(path).status_code in {200, 404}, path
        assert server.client.post("/v1/predict", content=b"\x80\x04cos\nsystem\n").status_code in {400, 415}
    assert json.loads((tmp_path / "seen.json").read_text()) == []


def test_the_watch_sees_what_it_must(tmp_path: Path) -> None:
    """Without this the tests above could pass for nothing."""
    (tmp_path / "beside").write_bytes(b"x")
    code = (
        "import json, pathlib, pickle, socket, subprocess, sys\n"
        "from tests.contracts._watched import Watch\n"
        "place = pathlib.Path(sys.argv[1]); data = pickle.dumps(pathlib.PurePosixPath('a'))\n"
        "watch = Watch(); watch.bundle = place / 'bundle'; watch.armed = True\n"
        "(place / 'beside').read_bytes(); (place / 'made').write_bytes(b''); pickle.loads(data); exec('1'); subprocess.run(['true'])\n"
        "watch.armed = False; print(json.dumps(watch.seen))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    for wanted in (
        f"open {tmp_path}/beside",
        f"open {tmp_path}/made",
        "pickle.find_class",
        "exec <string>",
        "subprocess.Popen",
    ):
        assert any(one.startswith(wanted) for one in seen), (wanted, seen)


def _answer(load: Load, answers: dict[str, Any], kind: str) -> dict[str, Any]:
    found = answers.get(f"{load.runtime}.{load.format}.{kind}")
    if found is None:
        pytest.skip(str(load.case.obstacle() if load.case else "nothing makes it") or "its library is not installed")
    assert "error" not in found, found["error"]
    return found
