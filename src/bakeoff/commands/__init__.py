"""What each verb does: call the study or one stage, print, return an exit code."""

from __future__ import annotations

from bakeoff.commands.delivering import keygen, keys, load, predict, serve, ship, verify
from bakeoff.commands.shared import INFEASIBLE, OK, UNTOLD
from bakeoff.commands.studying import catalog, decide, doctor, fetch, init, ledger, plan, replay, report, run, validate

__all__ = [
    "INFEASIBLE",
    "OK",
    "UNTOLD",
    "catalog",
    "decide",
    "doctor",
    "fetch",
    "init",
    "keygen",
    "keys",
    "ledger",
    "load",
    "plan",
    "predict",
    "replay",
    "report",
    "run",
    "serve",
    "ship",
    "validate",
    "verify",
]
