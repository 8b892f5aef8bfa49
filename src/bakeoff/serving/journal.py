"""The request log: one JSON object a line, when asked for. Text of rows and answers is in it only when that is asked for by name."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

if TYPE_CHECKING:
    from bakeoff.serving.request import Request

_LONGEST = 64 << 10
"""Bytes of a body or an answer that are written; one line must not fill a disk."""


class Journal:
    """Writes what was asked and how it was answered.

    Args:
        stream: where to, in UTF-8.
        text: write the bodies that are posted and their answers too.

    """

    def __init__(self, stream: BinaryIO, *, text: bool = False) -> None:
        self._stream, self._text = stream, text

    def note(self, request: Request, status: int, answer: bytes) -> None:
        """Write one answered request. Its query and its headers are left out: whoever holds secrets may send them there."""
        route = request.route
        entry: dict[str, Any] = {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "client": request.client or request.peer,
            "method": request.method.decode("latin-1"),
            "path": route.path if route is not None else "unknown",
            "status": status,
            "seconds": round(perf_counter() - request.started, 6),
            "waited": round(request.waited, 6),
            "rows": request.rows,
        }
        if request.span is not None:
            entry["trace"] = f"{request.span.get_span_context().trace_id:032x}"
        if self._text and request.method == b"POST":  # pages are everybody's
            entry |= {"request": _shown(request.content()), "answer": _shown(answer)}
        with contextlib.suppress(OSError, ValueError):  # a full disk or a closed pipe costs the line, not the answer
            self._stream.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
            self._stream.flush()


def journal(wish: str) -> Journal | None:
    """Return what ``--log`` asks for: ``none``, ``requests``, or ``text``."""
    if wish == "none" or sys.stderr is None:  # closed by whoever started this process
        return None
    return Journal(sys.stderr.buffer, text=wish == "text")


def _shown(content: bytes) -> str:
    kept = content[:_LONGEST].decode("utf-8", "replace")
    return kept if len(content) <= _LONGEST else f"{kept}… ({len(content)} bytes)"
