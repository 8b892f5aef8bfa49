"""The HTTP server that runs inside a bundle; thin: sees only schema, data.transforms and runtimes.

Does: open a bundle, validate requests, batch them, answer, report its health and its metrics, drain on a signal.
Does not know: studies, ledgers, decisions, training. It writes no row's content to any log unless asked (``--log text``).
"""

from __future__ import annotations

from bakeoff.serving.limits import Limits
from bakeoff.serving.server import serve

__all__ = ["Limits", "serve"]
