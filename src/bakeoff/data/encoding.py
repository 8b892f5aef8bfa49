"""Bytes into text: UTF-8, UTF-16 with BOM, GB18030, and a refusal that names the byte where none fits."""

from __future__ import annotations

import codecs
import difflib
import re

from bakeoff.schema.errors import DataError

_GB2312_PAIR = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")
_BROKEN_UTF8_SHARE = 0.9
_GB_SHARE = 0.7
_NAMES = ("utf-8", "gb18030", "gbk", "big5", "utf-16", "latin-1", "cp1252", "shift_jis", "euc-kr")


def decode(raw: bytes, encoding: str, where: str) -> tuple[str, str]:
    """Return the text without BOM and the name of the encoding used.

    ``auto`` guesses; a file that is nearly all UTF-8 is refused at its bad byte instead of being misread as GB18030.

    Raises:
        DataError: unknown encoding, or bytes it does not allow (with offset and line).

    """
    text, used = _auto(raw, where) if encoding == "auto" else _named(raw, encoding, where)
    if "\x00" in text:
        offset = raw.index(b"\x00")
        raise DataError(
            "holds NUL bytes, so it is not text in this encoding",
            where=f"{where}:{_line(raw, offset)}",
            got=f"byte 0x00 at offset {offset}",
            try_="save the file as UTF-8 (UTF-16 without a byte order mark looks like this), or set data.encoding",
        )
    return text, used


def _named(raw: bytes, encoding: str, where: str) -> tuple[str, str]:
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        near = difflib.get_close_matches(encoding.lower(), _NAMES, n=1)
        raise DataError(
            "unknown encoding",
            where="data.encoding",
            got=encoding,
            allowed=["auto", *_NAMES],
            try_=near[0] if near else "auto",
        ) from None
    try:
        text = raw.decode("utf-8-sig" if name == "utf-8" else name)
    except UnicodeDecodeError as error:
        raise _bad_byte(raw, error, where, name) from None
    except (LookupError, UnicodeError, AttributeError):
        raise DataError(
            "not an encoding of text", where="data.encoding", got=encoding, allowed=["auto", *_NAMES]
        ) from None
    return text, "utf-8-sig" if name == "utf-8" and raw.startswith(codecs.BOM_UTF8) else name


def _auto(raw: bytes, where: str) -> tuple[str, str]:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _named(raw, "utf-16", where)
    try:
        return _named(raw, "utf-8", where)
    except DataError as error:
        if _mostly_utf8(raw) or not _looks_gb(raw):
            raise error from None
        return _named(raw, "gb18030", where)


def _mostly_utf8(raw: bytes) -> bool:
    text = raw.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(1 for character in text if character > "\x7f") - bad
    return good > 0 and good / (good + bad) >= _BROKEN_UTF8_SHARE


def _looks_gb(raw: bytes) -> bool:
    """Chinese in GB encodings is pairs of high bytes; Western accents are single high bytes between ASCII ones."""
    high = sum(1 for byte in raw if byte > 0x7F)
    return high > 0 and 2 * len(_GB2312_PAIR.findall(raw)) / high >= _GB_SHARE


def _bad_byte(raw: bytes, error: UnicodeDecodeError, where: str, name: str) -> DataError:
    return DataError(
        f"not valid {name.upper()}",
        where=f"{where}:{_line(raw, error.start)}",
        got=f"byte 0x{raw[error.start]:02x} at offset {error.start}",
        try_="mend that byte, save the file as UTF-8, or set data.encoding (gb18030, big5, latin-1, …)",
    )


def _line(raw: bytes, offset: int) -> int:
    return raw.count(b"\n", 0, offset) + 1
