"""A real server in a process of its own, on a free port of the loopback interface."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

SRC = Path(__file__).parents[2] / "src"


@dataclass
class Running:
    """The process, its address, and a client with keep-alive."""

    process: subprocess.Popen[str]
    url: str
    client: httpx.Client
    errors: Path

    @property
    def port(self) -> int:
        """TCP port."""
        return int(self.url.rsplit(":", 1)[1])

    def raw(self, data: bytes, *, timeout: float = 10.0) -> bytes:
        """Send bytes on a fresh connection and return what comes back until the server closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            parts = []
            try:
                while part := connection.recv(65536):
                    parts.append(part)
                    if b"\r\n\r\n" in b"".join(parts) and _complete(b"".join(parts)):
                        break
            except (TimeoutError, ConnectionResetError):
                pass
        return b"".join(parts)

    def log(self) -> str:
        """What the server wrote to standard error so far."""
        return self.errors.read_text(encoding="utf-8")

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        text = self.client.get("/metrics").text
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def _complete(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return found is not None and len(body) >= int(found[1])


@contextmanager
def running(bundle: Path, folder: Path, *flags: str, script: str | None = None) -> Iterator[Running]:
    """Serve ``bundle``; ``script`` replaces ``-m bakeoff.serving`` by a program that takes the same arguments."""
    environment = {**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{SRC.parent}", "OMP_NUM_THREADS": "1"}
    errors = folder / f"server-{len(list(folder.glob('server-*')))}.log"
    program = ["-c", script] if script else ["-m", "bakeoff.serving"]
    with errors.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *program, str(bundle), "--port", "0", *flags],
            env=environment, stdout=subprocess.PIPE, stderr=stream, text=True, cwd=folder,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith(("http://", "https://")), errors.read_text()
        with httpx.Client(base_url=url, timeout=20.0, trust_env=False, verify=False) as client:
            yield Running(process, url, client, errors)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def certificate_of(folder: Path) -> tuple[Path, Path]:
    """Return a self-signed certificate of 127.0.0.1 and its key."""
    pytest.importorskip("cryptography")
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")]),
    )
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    certificate, key = folder / "chain.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return certificate, key
