"""Which keys a bundle is opened with, and how they reach whoever opens it.

Only where a key is found travels: on command lines and to child processes, a path or the name of an environment variable. What is
given and empty is refused, never taken for not given: a script whose variable was not set must not open what it meant to check.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from bakeoff.runtimes import encryption, endpoints, signing
from bakeoff.schema.errors import UserError

VERIFY, DECRYPT = "BAKEOFF_VERIFY_KEY", "BAKEOFF_BUNDLE_KEY"
"""Environment variables that stand for what was not given: a path, or the key itself (PEM; hexadecimal or base64)."""
_PEM = "-----BEGIN"
_LARGEST = 64 << 10


@dataclass(frozen=True)
class Keys:
    """Where the keys are; nothing is read before it is needed.

    Args:
        verify: file with the public keys of whom you trust (PEM), or the PEM itself; None: any signature will do, and none.
        decrypt: file with the key, or ``env:NAME``; None: the bundle is not encrypted. With a key, a bundle that is not is refused.
        endpoints: URLs that a model may send rows to although nobody trusted signed its bundle.

    """

    verify: str | None = None
    decrypt: str | None = None
    endpoints: tuple[str, ...] = ()

    @classmethod
    def given(cls, verify: str | None = None, decrypt: str | None = None, allowed: tuple[str, ...] = ()) -> Keys:
        """Return what was given, completed from the environment.

        Raises:
            UserError: one of them is there and empty, or an endpoint is none.

        """
        if verify is None:
            verify = _present(os.environ.get(VERIFY), f"environment variable {VERIFY}")
        elif not verify.startswith(_PEM):
            verify = _lasting(_present(verify, "--key"), "--key")
        if decrypt is None:
            found = _present(os.environ.get(DECRYPT), f"environment variable {DECRYPT}")
            decrypt = None if found is None else f"env:{DECRYPT}"
        elif not decrypt.startswith("env:"):
            decrypt = _lasting(_present(decrypt, "--decrypt"), "--decrypt")
        return cls(verify, decrypt, endpoints.allowed(allowed))

    def trusted(self) -> tuple[bytes, ...]:
        """Return the public keys trusted, 32 bytes each; empty when none were given.

        Raises:
            UserError: the file holds none.

        """
        if self.verify is None:
            return ()
        if self.verify.startswith(_PEM):
            return signing.read_public(self.verify.encode(), f"environment variable {VERIFY}")
        try:
            return signing.read_public(Path(self.verify).read_bytes(), self.verify)
        except OSError as error:
            what = f"the public key cannot be read: {error.strerror}"
            raise UserError(what, where=f"--key or {VERIFY}") from None

    def secret(self) -> bytes | None:
        """Return the 32 bytes to decrypt with, or None when no key was given.

        Raises:
            UserError: there is no key of that form.

        """
        if self.decrypt is None:
            return None
        where = f"--decrypt or {DECRYPT}"
        value = os.environ.get(DECRYPT, "")
        if self.decrypt == f"env:{DECRYPT}" and encryption.spelled_key(value) is None:
            return encryption.read_key(value, where)  # the variable says where the key is
        return encryption.read_key(self.decrypt, where)

    def variables(self) -> dict[str, str]:
        """Return the environment variables that hand these keys to a child process."""
        found = {}
        if self.verify is not None:
            found[VERIFY] = self.verify if self.verify.startswith(_PEM) else str(Path(self.verify).absolute())
        if self.decrypt is not None and self.decrypt != f"env:{DECRYPT}":
            found[DECRYPT] = self.decrypt if self.decrypt.startswith("env:") else str(Path(self.decrypt).absolute())
        if self.endpoints:
            found[endpoints.ALLOW] = " ".join(self.endpoints)
        return found

    def export(self) -> None:
        """Hand these keys to everything this process opens and starts from now on."""
        os.environ.update(self.variables())


def _present(value: str | None, where: str) -> str | None:
    if value is not None and not value.strip():
        what = "a key was given and is empty"
        raise UserError(what, where=where, try_="a key, or leave it out altogether")
    return value


def _lasting(given: str | None, where: str) -> str | None:
    """Return a path that can be read again and by child processes, whatever was given.

    A pipe such as ``<(gpg -d key.gpg)`` can be read once and by this process alone. Its content goes to an anonymous memory file,
    which child processes of the same user reach through ``/proc`` as long as this process lives.
    """
    if given is None:
        return None
    try:
        pipe = stat.S_ISFIFO(Path(given).stat().st_mode)
    except (OSError, ValueError):
        return given  # whoever reads it says why it cannot be read
    if not pipe:
        return given
    if not hasattr(os, "memfd_create"):
        what = "a key cannot be read from a pipe on this system"
        raise UserError(what, where=where, try_="a file, or a variable: env:NAME")
    content = Path(given).read_bytes()[:_LARGEST]
    descriptor = os.memfd_create("bakeoff-key", os.MFD_CLOEXEC)  # stays open until this process ends
    os.write(descriptor, content)
    return f"/proc/{os.getpid()}/fd/{descriptor}"
