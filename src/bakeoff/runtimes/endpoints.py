"""Where a bundle's model may send rows: nowhere, unless somebody trusted signed the bundle or the operator names the place.

A prompted model behind an endpoint carries its URL and the name of the variable with the key. Whoever wrote the bundle chose both, so
loading it would send this machine's rows and that variable's content wherever they like. Nothing is asked here, only compared.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import BundleError, UserError

ALLOW = "BAKEOFF_ALLOW_ENDPOINT"
"""Environment variable with URLs that are allowed, separated by spaces."""
FORMAT = "openai-prompt"
_PLAIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:/[\w.~-]+)*/?", re.ASCII
)
"""No user, query, fragment, escape or back-slash: what two parsers could read in two ways is not compared but refused."""
_PORTS = {"http": 80, "https": 443}


def allowed(given: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the URLs given, and those of the environment.

    Raises:
        UserError: one of them is no plain URL.

    """
    found = (*given, *os.environ.get(ALLOW, "").split())
    for url in found:
        if _parts(url) is None:
            what = "not a URL of an endpoint"
            raise UserError(what, where=f"--allow-endpoint or {ALLOW}", got=url, try_="https://HOST/v1")
    return tuple(dict.fromkeys(found))


def check(artifacts: Iterable[Artifact], permitted: Iterable[str], *, trusted: bool) -> None:
    """Refuse a model that would ask an endpoint nobody agreed to.

    Args:
        artifacts: of the bundle, members of ensembles included.
        permitted: URLs; an endpoint at the same scheme, host and port and at or below the same path is allowed.
        trusted: whether the bundle was signed by a key that was given.

    Raises:
        BundleError: it would.

    """
    permitted = tuple(permitted)
    for artifact in artifacts:
        url = artifact.meta.get("url")
        if (artifact.format != FORMAT and url is None) or trusted or any(_covers(one, str(url)) for one in permitted):
            continue
        what = "the model sends rows and a key to an endpoint, and the bundle is not signed by a key that you trust"
        raise BundleError(
            what, got=str(url), try_="--key PUB of whoever signed it, or --allow-endpoint URL if you know the place"
        )


def _covers(permitted: str, url: str) -> bool:
    one, other = _parts(permitted), _parts(url)
    return one is not None and other is not None and one[0] == other[0] and other[1][: len(one[1])] == one[1]


def _parts(url: str) -> tuple[tuple[str, str, int], tuple[str, ...]] | None:
    """Return (scheme, host, port) and the path's parts; None for what is not plain."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    plain = f"{scheme.lower()}://{authority.lower()}{slash}{path}"
    if not _PLAIN.fullmatch(plain):
        return None
    split = urlsplit(plain)
    parts = tuple(part for part in split.path.split("/") if part)
    if {".", ".."} & set(parts):
        return None
    return (split.scheme, split.hostname or "", split.port or _PORTS[split.scheme]), parts
