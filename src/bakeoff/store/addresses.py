"""Addresses as they may be shown and kept: without their secrets, also where what was typed is no proper address.

Done by hand: whoever parses an address first sees a password with a ``/`` in it as a host and a path, and shows it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_AUTHORITY = re.compile(r"[^/?#]*")
_PORT = re.compile(r"\d+([,/?#]|$)")
_SECRET = ("password", "secret")
"""What the name of a secret parameter contains: password, sslpassword, oauth_client_secret."""


def password(url: str) -> str:
    """Return the password of a URL as it is written there, '' when it has none."""
    start, end = _password(url)
    return url[start:end]


def misread(url: str) -> bool:
    """Whether drivers would take part of the password for something else, because of a ``/``, ``?``, ``#`` or ``@`` in it."""
    return any(sign in password(url) for sign in "/?#@")


def without_password(url: str) -> str:
    """Return the URL as it may be shown and kept: without a password, before the host or among the parameters."""
    start, end = _password(url)
    plain = url[: max(0, start - 1)] + url[end:] if end else url
    if "://" not in plain:
        return plain
    head, hash_, fragment = plain.partition("#")
    path, _, query = head.partition("?")
    fields = [field for field in query.split("&") if field and not _is_secret(field)]
    return path + ("?" + "&".join(fields) if fields else "") + hash_ + fragment


def scrubbed(text: str, *urls: str, known: str | None = None) -> str:
    """Return ``text`` with the passwords of URLs, and one that is known otherwise, made unreadable."""
    found = {password(url) for url in urls} | {known or ""}
    for url in urls:
        query = url.partition("#")[0].partition("?")[2]
        found |= {field.partition("=")[2] for field in query.split("&") if _is_secret(field)}
    for secret in sorted(filter(None, found), key=len, reverse=True):
        text = text.replace(secret, "***").replace(unquote(secret), "***")
    return text


def _password(url: str) -> tuple[int, int]:
    """Return where the password begins and ends; (0, 0) when there is none. It ends at the last '@' there is: better too much."""
    scheme, there, rest = url.partition("://")
    start = len(scheme) + len(there)
    authority = _AUTHORITY.match(rest)
    colon, last = (authority[0] if authority else "").find(":"), rest.rfind("@")
    if not there or colon < 0 or last < colon:
        return 0, 0
    if "@" in rest[:colon] and _PORT.match(rest, colon + 1):  # user@host:port, and an '@' somewhere behind
        return 0, 0
    return start + colon + 1, start + last


def _is_secret(field: str) -> bool:
    name = unquote(field.partition("=")[0]).casefold()
    return any(part in name for part in _SECRET)
