"""Ray as Bakeoff uses it: without its usage statistics, and guarded by a token where Bakeoff starts a cluster itself.

Ray's ports cannot be bound to the loopback interface: they listen on every address of the machine. What keeps others from running code
there is the token, which Ray makes at the first start and keeps in the home folder. Imports Ray lazily.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from pathlib import Path
from typing import Any

from bakeoff.schema.errors import UnavailableError

_MODE = "RAY_AUTH_MODE"
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
"""Arguments of ``ray.init`` that keep its messages out of ours."""


def imported(*, starting: bool) -> Any:  # noqa: ANN401 - the module
    """Import Ray with its usage statistics off.

    Args:
        starting: a cluster is to be started, unless one is connected already.

    Raises:
        ImportError: it is not installed.

    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if starting and "ray" not in sys.modules:  # it reads the mode when it is imported
        os.environ.setdefault(_MODE, "token")
    import ray

    return ray


def start(ray: Any) -> None:  # noqa: ANN401 - the module
    """Start a cluster on this machine that nobody can use without its token.

    Raises:
        UnavailableError: tokens are switched off, or this version of Ray has none.

    """
    if os.environ.get(_MODE, "token").lower() != "token":
        what = "Bakeoff starts no Ray cluster without tokens: its ports are open to whoever reaches this machine"
        raise UnavailableError(
            what, where=_MODE, got=os.environ[_MODE], try_=f"unset {_MODE}, or --address of a cluster of yours"
        )
    # 'local': without an address Ray would join whichever cluster was last started on this machine, by whomever
    ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **QUIET)
    if not guarded():
        ray.shutdown()
        what = "Ray did not guard the cluster by a token"
        raise UnavailableError(what, got=ray.__version__, try_=f"pip install 'bakeoff[ray]', and export {_MODE}=token")
    with contextlib.suppress(OSError):  # Ray leaves it readable for everybody
        (Path.home() / ".ray" / "auth_token").chmod(0o600)


def guarded() -> bool:
    """Whether this process shows and asks for tokens."""
    raylet: Any = importlib.import_module("ray._raylet")
    ask = getattr(raylet, "get_authentication_mode", None)  # None before 2.52
    return ask is not None and bool(ask() == raylet.AuthenticationMode.TOKEN)
