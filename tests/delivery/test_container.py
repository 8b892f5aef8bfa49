"""The Dockerfile: what it says, that the lock installs nothing but known bytes, and that its steps build an image that serves."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bakeoff.delivery import container, dockerfile, locks, requirements, wheel
from bakeoff.delivery.sealing import Seal
from bakeoff.runtimes import encryption, signing
from bakeoff.schema.contract import Manifest
from bakeoff.serving import auth
from tests.delivery import image, making
from tests.needs import lacking

_APART = ["unshare", "--mount", "--pid", "--fork", "--net", "--kill-child"]
SIZING = container.Sizing("reviews", "0123456789ab", "3.11", 2, 3e8, 3)


def repacked(name: str, house: Path) -> Path:
    """Write a wheel of an installed distribution, so that pip can install it without an index."""
    found = importlib.metadata.distribution(name)
    members: dict[str, bytes] = {}
    for path in found.files or ():
        parts = path.parts
        if (
            parts[0] != ".."
            and "__pycache__" not in parts
            and parts[-1] not in {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
        ):
            members[path.as_posix()] = Path(str(found.locate_file(path))).read_bytes()
    info = next(path.split("/")[0] for path in members if path.endswith(".dist-info/METADATA"))
    tag = re.findall(r"^Tag: (.*)$", members[f"{info}/WHEEL"].decode(), re.MULTILINE)[0]
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}"
        for path, content in members.items()
    ]
    members[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    target = house / f"{info.removesuffix('.dist-info')}-{tag}.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return target


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of all that the image of a linear model installs."""
    folder = tmp_path_factory.mktemp("house")
    making.tfidf(folder / "model")
    for name in locks.closure(requirements.needed(folder / "model", {}, sealed=True)):
        repacked(name, folder)
    shutil.rmtree(folder / "model")
    return folder


@pytest.fixture(scope="module")
def shipped_here(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed and encrypted bundle, keys beside it, whose lock has the hashes of those wheels in the place of the published ones."""
    document = json.loads(json.dumps(locks._known()))
    for path in house.glob("*.whl"):
        name = locks.plain(path.name.split("-")[0])
        entry = document["distributions"].setdefault(name, {"requires": []})
        entry.update(version=path.name.split("-")[1], sha256=[hashlib.sha256(path.read_bytes()).hexdigest()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "_known", lambda: document)
        root = tmp_path_factory.mktemp("shipped-here")
        signing.generate(root / "signer")
        (root / "bundle.key").write_text(encryption.new_key())
        making.bundle(root, seal=Seal.given(str(root / "signer"), str(root / "bundle.key")))
    return root / "bundle"


def pip(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run pip without an index."""
    environment = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--dry-run", "--ignore-installed", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


LOCKED = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", "requirements.lock")


def test_the_dockerfile_has_two_stages_no_root_and_a_health_check(shipped: Path) -> None:
    steps = list(image.instructions((shipped / "Dockerfile").read_text()))
    names = [name for name, _ in steps]
    assert [rest for name, rest in steps if name == "FROM"] == ["${BASE} AS build", "${BASE}"]
    assert steps[0] == ("ARG", f"BASE=python:{sys.version_info[0]}.{sys.version_info[1]}-slim")
    assert ("USER", "10001:10001") in steps
    assert names.index("USER") > max(index for index, name in enumerate(names) if name in {"RUN", "COPY"})
    assert {"HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD", "EXPOSE", "LABEL"} <= set(names)
    assert "PYTHONDONTWRITEBYTECODE=1" in dict(steps)["ENV"]
    installs = next(rest for name, rest in steps if name == "RUN" and "venv" in rest)
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(installs.split())
    assert "libgomp1" not in (shipped / "Dockerfile").read_text()


def test_the_readme_says_in_both_languages_that_the_base_image_is_not_pinned(shipped: Path) -> None:
    chinese, _, english = (shipped / "README.md").read_text(encoding="utf-8").partition("\n---\n")
    assert "基础镜像**没有**固定" in chinese
    assert "The base image is **not** pinned" in english
    steps = list(image.instructions((shipped / "Dockerfile").read_text()))
    for text in (chinese, english):
        argument = re.search(r"--build-arg (\w+)=\S+@sha256:", text)
        assert argument is not None
        assert steps[0][0] == "ARG"
        assert steps[0][1].partition("=")[0] == argument[1]


@pytest.mark.parametrize("pins", [{}, {"lightgbm": "4.7.0"}, {"torch": "2.13.0"}])
def test_a_real_parser_finds_no_fault_with_the_dockerfile(pins: dict[str, str]) -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if linter is None:
        lacking("hadolint", "hadolint is not here")
    for unknown in ((), ("torch==2.13.0",)):
        text = dockerfile.dockerfile(SIZING, pins, unknown)
        done = subprocess.run([linter, "-"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")
        done = subprocess.run([linter, "-"], input=f"{text}COPI a b\n", capture_output=True, text=True, check=False)
        assert done.returncode != 0


def test_system_libraries_come_only_where_they_are_needed() -> None:
    assert "libgomp1" in dockerfile.dockerfile(SIZING, {"lightgbm": "4.7.0"}, ())
    assert "libgomp1" not in dockerfile.dockerfile(SIZING, {"xgboost-cpu": "3.2.0"}, ())


def test_the_lock_is_complete_and_every_line_has_hashes(shipped: Path) -> None:
    text = (shipped / "requirements.lock").read_text()
    entries = re.findall(r"^(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", text, re.MULTILINE)
    assert len(entries) == len([line for line in text.splitlines() if line[0] not in "# "])
    own, *rest = entries
    path = shipped / own[0]
    assert own[1].split(":")[-1] == hashlib.sha256(path.read_bytes()).hexdigest()
    locked = dict(name.split("==") for name, _ in rest)
    manifest = Manifest.model_validate_json((shipped / "manifest.json").read_bytes())
    assert (
        locked.items()
        >= {locks.plain(name): version.split("+")[0] for name, version in manifest.packages.items()}.items()
    )
    for name in locked:
        required = importlib.metadata.requires(name) or []
        plain = {locks.plain(re.split(r"[^\w.-]", line)[0]) for line in required if ";" not in line}
        assert plain <= set(locked), f"{name} needs {plain - set(locked)}"


def test_the_lock_knows_every_processor_and_interpreter() -> None:
    known = locks._known()
    assert sys.version_info[:2] in [tuple(map(int, python.split("."))) for python in known["pythons"]]
    assert len(known["distributions"]["numpy"]["sha256"]) == len(known["pythons"]) * len(known["processors"])


def test_the_known_hashes_are_of_the_versions_everything_is_tested_with() -> None:
    constraints = (Path(__file__).parents[2] / "constraints.txt").read_text()
    wanted = dict(re.findall(r"^([\w.-]+)==(\S+)$", constraints, re.MULTILINE))
    wanted = {locks.plain(name): version for name, version in wanted.items()}
    known = {name: entry["version"] for name, entry in locks._known()["distributions"].items()}
    differing = {name: version for name, version in known.items() if wanted.get(name, version) != version}
    assert not differing, "run scripts/hashes.py"


@pytest.mark.parametrize(
    ("pins", "python", "named"),
    [
        ({"numpy": "1.26.4"}, "3.11", "numpy==1.26.4"),
        ({"torch": "2.13.0+cpu"}, "3.11", "torch==2.13.0"),
        ({"numpy": "0"}, "3.10", "wheels for Python 3.10"),
    ],
)
def test_without_a_known_hash_there_is_no_lock_and_the_dockerfile_says_why(
    tmp_path: Path, pins: dict[str, str], python: str, named: str
) -> None:
    own = wheel.build_wheel(tmp_path)
    found = locks.lock(pins, own, python)
    assert (found.text, found.unknown) == ("", (named,))
    text = dockerfile.dockerfile(SIZING, pins, found.unknown)
    assert f"none is known of {named}." in text
    assert "-r requirements.txt ./wheels/*.whl" in text
    assert "requirements.lock" not in text
    assert ("PIP_EXTRA_INDEX_URL=…" in text) is ("torch" in pins)


def test_pip_takes_the_lock_and_refuses_other_bytes(house: Path, shipped_here: Path, tmp_path: Path) -> None:
    done = pip("--find-links", str(house), *LOCKED, cwd=shipped_here)
    assert done.returncode == 0, done.stderr
    assert f"bakeoff-{importlib.metadata.version('bakeoff')}" in done.stdout
    shutil.copytree(house, tmp_path / "house")
    other = next((tmp_path / "house").glob("pydantic-*.whl"))
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("pydantic/extra.py", "")
    done = pip("--find-links", str(tmp_path / "house"), *LOCKED, cwd=shipped_here)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("model/weights.npz", False), (".git/config", True), (".git", True), ("keys/server.key", True), ("sign.pem", True),
        (".dockerignore", False), ("model/.env", True), ("manifest.json", False), ("requirements.lock", False),
    ],
)  # fmt: skip
def test_keys_and_hidden_files_stay_out_of_the_image(path: str, out: bool) -> None:
    patterns = [line for line in dockerfile.IGNORED.splitlines() if not line.startswith("#")]
    assert image.ignored(path, patterns) is out


def test_nothing_of_the_bundle_is_ignored(shipped: Path) -> None:
    patterns = [line for line in (shipped / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    manifest = Manifest.model_validate_json((shipped / "manifest.json").read_bytes())
    assert not [entry.path for entry in manifest.files if image.ignored(entry.path, patterns)]


def _unable(folder: Path) -> str | None:
    """Return why images cannot be built here, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "building an image takes root on Linux"
    if not all(map(shutil.which, ("unshare", "chroot", "setpriv", "mount", "useradd"))):
        return "building an image takes util-linux and useradd"
    for name in ("upper", "scratch", "merged"):
        (folder / name).mkdir()
    options = f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/scratch"
    overlay = ["mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged"]
    tried = subprocess.run([*_APART, *overlay], check=False, capture_output=True)
    return "this system allows no namespaces or no overlays" if tried.returncode else None


def _job(bundle: Path, house: Path, folder: Path) -> dict[str, Any]:
    """Return what image.py is to do: the commands are those of the bundle's own manifests, only shorter."""
    pod = yaml.safe_load((bundle / "kubernetes/base/deployment.yaml").read_text())["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    for name, seconds in (("--drain-seconds", "1"), ("--stop-seconds", "5")):
        arguments[arguments.index(name) + 1] = seconds
    gate = yaml.safe_load((bundle / "kubernetes/overlays/canary/gate.yaml").read_text())["spec"]["template"]["spec"]
    verify, load = gate["initContainers"][0]["command"], gate["containers"][0]["command"]
    load[load.index("http://reviews-canary")] = "http://127.0.0.1:8000"
    key = auth.add(folder / "api-keys.json", "test")
    return {
        "context": str(bundle), "work": str(folder / "work"), "wheelhouse": str(house), "log": str(folder / "server.log"),
        "environment": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheelhouse", "PIP_CONFIG_FILE": os.devnull},
        "secrets": {
            container.API_KEYS: (folder / "api-keys.json").read_text(),
            container.VERIFY_KEY: (bundle.parent / "signer.pub").read_text(),
            container.BUNDLE_KEY: (bundle.parent / "bundle.key").read_text(),
            load[load.index("--header") + 1].partition("@")[2]: f"Bearer {key}",
        },
        "key": key, "request": {"rows": [{"text": "屏幕 很好 酒店 满意 7"}]}, "command": arguments,
        "gate": [[*verify, "--quick"], [*load, "--seconds", "1"]], "hidden": str(Path(__file__).parents[2]),
    }  # fmt: skip


@pytest.mark.slow
def test_the_dockerfiles_steps_build_an_image_that_serves_passes_the_gate_and_drains(
    house: Path, shipped_here: Path, tmp_path: Path
) -> None:
    if reason := _unable(tmp_path):
        lacking("image", reason)
    (tmp_path / "job.json").write_text(json.dumps(_job(shipped_here, house, tmp_path)))
    done = subprocess.run(
        [*_APART, sys.executable, image.__file__, str(tmp_path / "job.json")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    log = (tmp_path / "server.log").read_text() if (tmp_path / "server.log").exists() else ""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log}"
    seen = json.loads((tmp_path / "job.result").read_text())["seen"]
    assert (seen["ready"], seen["healthy"]) == (200, 0), log
    assert seen["predicted"][0] == 200, seen["predicted"]
    assert json.loads(seen["predicted"][1])["predictions"][0]["label"] == "good"
    assert (seen["keyless"][0], seen["metrics"][0]) == (401, 200)
    assert seen["metrics"][1].count("\nbakeoff_queue_seconds ") == 1, "the gauge that the autoscaler reads"
    assert seen["process"]["Uid"] == ["10001"] * 4
    assert seen["process"]["CapEff"] == seen["process"]["CapBnd"] == ["0" * 16]
    assert seen["writable"] == ["/tmp"]
    assert seen["visible"] == "", "neither the repository nor pip is in the image"
    assert [code for _, code in seen["gate"]] == [0, 0], seen["gate"]
    assert seen["draining"] == {"ready": 503, "predicted": 200}
    assert seen["exit"] == 0
