"""What a client did wrong, said so that it can be mended: what, where, what was got, what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

Header = tuple[bytes, bytes]


class Problem(Exception):  # noqa: N818 - an answer to a client, not a fault of the program
    """A request that is answered with an error; never carries the content of a row.

    Args:
        status: HTTP status.
        what: what is wrong, one clause.
        where: the part of the request concerned, such as ``rows[3].age``.
        got: the kind of thing that was found there.
        allowed: what would be accepted.
        headers: further response headers (``Allow``, ``Retry-After``).

    """

    def __init__(
        self,
        status: int,
        what: str,
        *,
        where: str | None = None,
        got: str | None = None,
        allowed: Sequence[str] | str | None = None,
        headers: tuple[Header, ...] = (),
    ) -> None:
        self.status, self.what, self.where, self.got, self.headers = status, what, where, got, headers
        self.allowed = list(allowed) if allowed is not None and not isinstance(allowed, str) else allowed
        super().__init__(what)

    def body(self) -> bytes:
        """Return the JSON of ``/v1`` errors: one object ``error`` with the facts that are known."""
        facts: dict[str, Any] = {"status": self.status, "what": self.what}
        facts |= {name: value for name in ("where", "got", "allowed") if (value := getattr(self, name)) is not None}
        return orjson.dumps({"error": facts})

    def sentence(self) -> bytes:
        """Return the JSON of ``/v2`` errors: the Open Inference Protocol has one string."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.got is not None:
            parts.append(f"got {self.got}")
        if self.allowed is not None:
            listed = self.allowed if isinstance(self.allowed, str) else ", ".join(self.allowed)
            parts.append(f"allowed: {listed}")
        return orjson.dumps({"error": "; ".join(parts)})


def kind(value: object) -> str:
    """Name the JSON type of a parsed value, for messages that must not repeat the value itself."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


def later(what: str, seconds: int = 1) -> Problem:
    """Return 503: ask again after ``seconds``."""
    return Problem(503, f"{what}; try again", headers=((b"retry-after", b"%d" % seconds),))


def too_late() -> Problem:
    """Return 504."""
    what = "the model did not answer in time"
    return Problem(504, what)
