"""Builds and runs an image without a container engine: executes a Dockerfile's instructions in roots of its own (run it as root on Linux).

    unshare --mount --pid --fork --net --kill-child python tests/delivery/image.py JOB.json

Does: ARG, FROM (stages), COPY (--from, .dockerignore), RUN, ENV, LABEL, WORKDIR, USER, EXPOSE, STOPSIGNAL, HEALTHCHECK, ENTRYPOINT, CMD.
In the place of ``python:X-slim`` stand this machine's /usr and /etc, copied on write, and this interpreter at /usr/local; nothing else
of the machine is in the root, and there is no network. The container then runs with every file system read-only but /tmp, as the
image's user, without capabilities.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

_CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin") or "chroot"
_BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


@dataclass
class Image:
    """What the instructions of one stage left behind."""

    root: str
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _BASE_PATH})
    workdir: str = "/"
    user: str = "0:0"
    labels: dict[str, str] = field(default_factory=dict)
    healthcheck: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield (instruction, rest) with continued lines joined and comments gone."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for whole in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if whole.strip():
            name, _, rest = whole.strip().partition(" ")
            yield name.upper(), rest.strip()


def ignored(path: str, patterns: list[str]) -> bool:
    """Tell whether .dockerignore leaves a path out: the last pattern that matches it, or a folder above it, decides."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    out = False
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        deep = bare.removeprefix("**/")
        names = [name.rsplit("/", 1)[-1] for name in above] if deep != bare else above
        if any(fnmatchcase(name, deep) for name in names):
            out = not pattern.startswith("!")
    return out


def base(root: Path, *, work: Path) -> None:
    """Mount the base image at ``root``; what is written to it stays in ``work``."""
    for name in ("usr", "etc", "dev", "proc", "tmp", "run", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink() and not (root / name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
    for name in ("usr", "etc"):
        upper, scratch = work / f"{name}-upper", work / f"{name}-work"
        upper.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(exist_ok=True)
        mount(
            "-t", "overlay", "overlay", "-o", f"lowerdir=/{name},upperdir={upper},workdir={scratch}", str(root / name)
        )
    if not sys.base_prefix.startswith("/usr"):
        mount("--bind", sys.base_prefix, str(root / "usr/local"))
        mount("-o", "remount,bind,ro", str(root / "usr/local"))
        # finds this interpreter's libpython before the system's, as python:X-slim does
        subprocess.run([_CHROOT, str(root), "ldconfig"], check=True)
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("-t", "tmpfs", "-o", "mode=755", "none", str(root / "dev"))
    for name in ("null", "zero", "random", "urandom"):
        (root / "dev" / name).touch()
        mount("--bind", f"/dev/{name}", str(root / "dev" / name))


def mount(*arguments: str) -> None:
    """Run mount."""
    subprocess.run(["mount", *arguments], check=True)


def build(context: Path, work: Path, outside: Mapping[str, str], wheelhouse: Path | None) -> Image:
    """Execute the Dockerfile of ``context``; ``outside``: environment that RUN sees and the image does not keep."""
    known: dict[str, str] = {}
    stages: dict[str, Image] = {}
    image: Image | None = None
    ignore = (context / ".dockerignore").read_text().splitlines()
    patterns = [line for line in ignore if line and not line.startswith("#")]
    for name, rest in instructions((context / "Dockerfile").read_text(encoding="utf-8")):
        if name == "ARG":
            key, _, default = rest.partition("=")
            known.setdefault(key, default)
        elif name == "FROM":
            source, *alias = substituted(rest, known).split()
            assert re.fullmatch(r"python:3\.\d+-slim(@sha256:[0-9a-f]{64})?", source), source
            place = work / f"stage{len(stages)}"
            image = Image(str(place / "root"))
            base(Path(image.root), work=place)
            stages[alias[1] if alias else str(len(stages))] = image
        else:
            assert image is not None
            apply(image, name, substituted(rest, known | image.environment) if name != "RUN" else rest, {
                "context": context, "stages": stages, "patterns": patterns, "args": known | dict(outside), "wheelhouse": wheelhouse,
            })  # fmt: skip
    assert image is not None
    return image


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Return the text with ``${NAME}`` replaced."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text)


def apply(image: Image, name: str, rest: str, around: dict[str, Any]) -> None:
    """Carry out one instruction of a stage."""
    root = Path(image.root)
    if name == "RUN":
        run(image, rest, around["args"], around["wheelhouse"])
    elif name == "COPY":
        copy(image, shlex.split(rest), around)
    elif name in {"ENV", "LABEL"}:
        pairs = dict(part.split("=", 1) for part in shlex.split(rest))
        (image.environment if name == "ENV" else image.labels).update(pairs)
    elif name == "WORKDIR":
        (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        image.workdir = rest
    elif name == "USER":
        image.user = rest
    elif name == "HEALTHCHECK":
        image.healthcheck = json.loads(rest[rest.index("CMD") + 3 :])
    elif name in {"ENTRYPOINT", "CMD"}:
        setattr(image, "entrypoint" if name == "ENTRYPOINT" else "command", json.loads(rest))
    elif name == "STOPSIGNAL":
        image.stop_signal = rest
    else:
        assert name == "EXPOSE", f"unknown instruction {name}"


def run(image: Image, command: str, outside: Mapping[str, str], wheelhouse: Path | None) -> None:
    """Execute a shell command in the root."""
    assert image.user == "0:0", "RUN after USER"
    inside = Path(image.root) / "wheelhouse"
    if wheelhouse:
        inside.mkdir(exist_ok=True)
        mount("--bind", str(wheelhouse), str(inside))
    try:
        environment = {**image.environment, **outside}
        shell = [_CHROOT, image.root, "/bin/sh", "-ec", f"cd {shlex.quote(image.workdir)} && {command}"]
        subprocess.run(shell, env=environment, check=True)
    finally:
        if wheelhouse:
            subprocess.run(["umount", str(inside)], check=True)
            inside.rmdir()


def copy(image: Image, words: list[str], around: dict[str, Any]) -> None:
    """Copy from the context, less what is ignored, or from another stage; whoever copies owns it, and that is root."""
    source_root, patterns = around["context"], around["patterns"]
    if words[0].startswith("--from="):
        source_root, patterns = Path(around["stages"][words.pop(0).removeprefix("--from=")].root), []
    *sources, target = words
    for source in sources:
        path = Path(os.path.normpath(source_root / source.lstrip("/")))
        place = Path(image.root) / os.path.normpath(Path(image.workdir, target)).lstrip("/")
        if path.is_file():
            shutil.copy(path, place / path.name if target.endswith("/") else place)
            continue

        def left_out(folder: str, names: list[str]) -> list[str]:
            below = Path(folder).relative_to(source_root)
            return [name for name in names if ignored((below / name).as_posix(), patterns)]

        shutil.copytree(path, place, symlinks=True, dirs_exist_ok=True, ignore=left_out)


def contained(image: Image, command: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start a command as the image's user, without capabilities or a way to get any."""
    uid, _, gid = image.user.partition(":")
    assert int(uid) > 0
    low = [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={gid}",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]
    shell = ["/bin/sh", "-c", f'cd {shlex.quote(image.workdir)} && exec "$@"', "sh", *command]
    return subprocess.Popen(
        [_CHROOT, image.root, *low, *shell], env=image.environment, text=True, stdin=subprocess.DEVNULL, **options
    )  # fmt: skip


def locked_down(image: Image, secrets: Mapping[str, str]) -> None:
    """Make every file system read-only but an empty /tmp, and lay the secrets where they are mounted in a cluster."""
    root = Path(image.root)
    mount("-t", "tmpfs", "-o", "mode=1777", "none", str(root / "tmp"))
    for name, content in secrets.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o444)
    for name in ("usr", "etc"):
        mount("-o", "remount,ro", str(root / name))
    mount("--rbind", image.root, image.root)
    mount("-o", "remount,bind,ro", image.root)


def up() -> None:
    """Bring the loopback interface of this network namespace up."""
    with socket.socket() as any_socket:
        request = struct.pack("16sh", b"lo", 0x1 | 0x40)
        fcntl.ioctl(any_socket, 0x8914, request)


def ask(path: str, body: Any = None, key: str | None = None) -> tuple[int, str]:
    """Return status and body of an answer."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(
        f"http://127.0.0.1:8000{path}", None if body is None else json.dumps(body).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def trial(image: Image, job: dict[str, Any]) -> dict[str, Any]:
    """Run the container as a cluster would and return what was seen."""
    with Path(job["log"]).open("w", encoding="utf-8") as log:
        server = contained(image, [*image.entrypoint, *job["command"]], stdout=log, stderr=log)
    until = time.monotonic() + 60
    while ask("/readyz")[0] != 200 and time.monotonic() < until and server.poll() is None:
        time.sleep(0.05)
    seen: dict[str, Any] = {"ready": ask("/readyz")[0], "environment": image.environment, "labels": image.labels}
    status = Path(f"{image.root}/proc/{server.pid}/status").read_text()
    seen["process"] = {name: value.split() for name, value in re.findall(r"^(\w+):\t(.*)$", status, re.MULTILINE)}
    seen["healthy"] = contained(image, image.healthcheck).wait()
    seen["keyless"] = ask("/v1/predict", job["request"])
    seen["metrics"] = ask("/metrics")
    seen["predicted"] = ask("/v1/predict", job["request"], job["key"])
    writes = " ".join(
        f"touch {place}/x 2>/dev/null && echo {place};" for place in ("/bundle", "/opt/venv", "/etc", "/tmp", "/run")
    )
    seen["writable"] = contained(image, ["/bin/sh", "-c", writes], stdout=subprocess.PIPE).communicate()[0].split()
    visible = contained(
        image,
        ["/bin/sh", "-c", f"ls {job['hidden']} 2>/dev/null; command -v /opt/venv/bin/pip"],
        stdout=subprocess.PIPE,
    )
    seen["visible"] = visible.communicate()[0]
    seen["gate"] = []
    for command in job["gate"]:
        tested = contained(image, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        seen["gate"].append([tested.communicate()[0], tested.returncode])
    server.send_signal(getattr(signal, image.stop_signal))
    time.sleep(0.2)
    seen["draining"] = {"ready": ask("/readyz")[0], "predicted": ask("/v1/predict", job["request"], job["key"])[0]}
    seen["exit"] = server.wait(30)
    return seen


def main(path: Path) -> None:
    """Do the job: build, lock down, run; write the result beside the job."""
    job = json.loads(path.read_text())
    up()
    house = Path(job["wheelhouse"]) if job["wheelhouse"] else None
    image = build(Path(job["context"]), Path(job["work"]), job["environment"], house)
    locked_down(image, job["secrets"])
    seen = trial(image, job)
    path.with_suffix(".result").write_text(json.dumps({"image": asdict(image), "seen": seen}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
