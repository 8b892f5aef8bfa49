"""A real PostgreSQL server of a test's own: in a folder of its own, as a user of its own, on a loopback port; it can be killed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "hunter2-correct-horse"
_USERS = ("postgres", "nobody")


def binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL installed, None when there is none."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgresServer:
    """A server; ``start`` it, ``stop`` it, ``kill`` it, ``remove`` it in the end."""

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self._who: dict[str, object] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = next(pwd.getpwnam(name) for name in _USERS if _exists(name))
            self._who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        arguments = ["-D", str(self.folder / "data"), "-U", "owner", "--auth=scram-sha-256", f"--pwfile={secret}"]
        self._run("initdb", *arguments, "--encoding=UTF8", "--locale=C", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgresql://owner:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers; sessions of a killed one may need a moment to let go of its memory."""
        end = time.monotonic() + 30
        while True:
            self._spawn()
            while not self.answers():
                if self._process is None or self._process.poll() is not None:
                    break
                time.sleep(0.02)
            else:
                return
            if time.monotonic() > end:
                raise RuntimeError(self.log())
            time.sleep(0.05)

    def _spawn(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": str(self.folder),
            "shared_buffers": "16MB", "max_connections": 40, "fsync": "off", "lc_messages": "C",
        }  # fmt: skip
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *options],
                stdout=log, stderr=log, cwd=self.folder, **self._who,
            )  # fmt: skip

    def answers(self) -> bool:
        arguments = ["-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run([str(self._bin / "pg_isready"), *arguments], check=False).returncode == 0

    def log(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.log").read_text(errors="replace")

    def stop(self) -> None:
        self._end(signal.SIGINT)  # "fast": sessions are cut

    def kill(self) -> None:
        """Kill -9 the server; its children notice, and a new one recovers from the log."""
        self._end(signal.SIGKILL)
        with contextlib.suppress(OSError, ValueError):
            (self.folder / "data" / "postmaster.pid").unlink()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder.parent / f"{self.folder.name}.log").unlink(missing_ok=True)

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / name), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self._who,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
