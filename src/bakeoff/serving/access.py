"""Who may ask and how often: the guards of a server, and the rule that off the loopback interface somebody must stand guard."""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bakeoff.schema.errors import UserError
from bakeoff.serving.auth import VARIABLE, Keys
from bakeoff.serving.problems import Problem
from bakeoff.serving.rates import Rates

if TYPE_CHECKING:
    from bakeoff.serving.app import Guard, Route
    from bakeoff.serving.request import Request

_HEALTH = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""What a load balancer must be able to ask without a key; it says nothing but whether the server lives and is ready."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a server is reached.

    Attributes:
        keys: file of API keys; None asks nobody for one.
        no_keys: serve without keys although other machines can reach the server: a gateway in front decides who may ask.
        public: paths that need no key besides the health checks, such as ``/metrics``; the first slash may be left out.
        rate: requests a second that one client (its key, or its address) may make, those with a wrong key included; 0 for any number.
        burst: requests it may make at once after a pause; 0 takes as many as it may make in two seconds.
        tls_certificate: PEM chain; with it the server speaks HTTPS only.
        tls_key: PEM private key of the certificate.
        log: what is written of each request: ``none``, ``requests`` (who, what, how long) or ``text`` (its content too).

    """

    keys: Path | None = None
    no_keys: bool = False
    public: tuple[str, ...] = ()
    rate: float = 0.0
    burst: float = 0.0
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    log: str = "none"

    def check(self, host: str) -> None:
        """Refuse to serve other machines with nobody on guard.

        Raises:
            UserError: ``host`` is not the loopback interface and there are neither keys nor the explicit wish to do without.

        """
        if self._file is None and not self.no_keys and not loopback(host):
            what = "other machines can reach this address, so clients must show an API key"
            raise UserError(
                what, where=f"--host {host}",
                try_="bakeoff keys add NAME --file keys.json, then --api-keys keys.json; or --no-keys where a gateway decides who may ask",
            )  # fmt: skip
        if not 0 <= self.rate < math.inf or not 0 <= self.burst < math.inf:
            what = "a rate and a burst are numbers of requests"
            raise UserError(what, got=f"--rate {self.rate:g} --burst {self.burst:g}", allowed="0 (no limit) or more")
        if (self.tls_certificate is None) != (self.tls_key is None):
            what = "HTTPS needs both a certificate and its key"
            raise UserError(what, try_="--tls-certificate FILE --tls-key FILE")

    @property
    def _file(self) -> Path | None:
        """Where the keys are: as given, else as the environment says."""
        if self.keys is not None or self.no_keys:
            return self.keys
        return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None

    def read_keys(self) -> Keys | None:
        """Return the keys that are accepted, or None when nobody is asked for one.

        Raises:
            UserError: their file cannot be read or holds none.

        """
        return Keys(self._file) if self._file is not None else None

    def guards(self, keys: Keys | None) -> list[Guard]:
        """Return what looks at each request before its body is read."""
        found: list[Guard] = []
        rates = Rates(self.rate, self.burst or 2 * self.rate) if self.rate > 0 else None
        if keys is not None:
            found.append(_locked(keys, _HEALTH | self.paths, rates))
        if rates is not None:
            found.append(_limited(rates))
        return found

    @property
    def paths(self) -> frozenset[str]:
        """What ``public`` names, as routes are called."""
        return frozenset("/" + path.lstrip("/") for path in self.public)

    @property
    def unguarded(self) -> bool:
        """Whether nobody stands guard but the address: then a page that a browser of this machine shows could ask, see ``from_here``."""
        return self._file is None and not self.no_keys

    def context(self) -> ssl.SSLContext | None:
        """Return what HTTPS needs, or None for HTTP.

        Raises:
            UserError: certificate or key cannot be used.

        """
        if self.tls_certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.tls_certificate, self.tls_key)
        except (OSError, ssl.SSLError) as error:
            what = f"the certificate cannot be used: {error.strerror or error}"
            raise UserError(what, where=str(self.tls_certificate)) from None
        return context


def access_of(given: argparse.Namespace) -> Access:
    """Return what the flags of ``flags.add_access`` say."""
    return Access(
        keys=given.api_keys, no_keys=given.no_keys, public=tuple(given.public), rate=given.rate, burst=given.burst,
        tls_certificate=given.tls_certificate, tls_key=given.tls_key, log=given.log,
    )  # fmt: skip


def loopback(host: str) -> bool:
    """Say whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def from_here(_: Request, origin: bytes) -> None:
    """Refuse what a page of another site has a browser of this machine ask.

    Browsers name the page's origin with every POST. That it is the very host that was asked proves nothing: a site may give its name
    the address of the loopback interface (DNS rebinding), and then reads the answers, too.

    Raises:
        Problem: 403.

    """
    try:
        host = urlsplit(origin.decode("ascii")).hostname or ""
    except ValueError:
        host = ""
    if not (loopback(host) or host.endswith(".localhost")):
        what = "a page of another site may not ask a server without API keys"
        allowed = "pages of this machine; any with --api-keys, or with --no-keys where a gateway decides who may ask"
        raise Problem(403, what, where="Origin", allowed=allowed)


def _locked(keys: Keys, public: frozenset[str], rates: Rates | None) -> Callable[[Request, Route], None]:
    def guard(request: Request, route: Route) -> None:
        if route.path in public:
            return
        try:
            request.client = keys.client(request.header(b"authorization"), request.header(b"x-api-key"))
        except Problem as problem:
            refused = problem.with_traceback(None)
        else:
            return
        if rates is not None:  # who guesses is nobody's client, but comes from somewhere
            rates.take(request.peer, perf_counter())
        raise refused

    return guard


def _limited(rates: Rates) -> Callable[[Request, Route], None]:
    def guard(request: Request, route: Route) -> None:
        if route.path not in _HEALTH:
            rates.take(request.client or request.peer, perf_counter())

    return guard
