"""The bundle: everything needed to run what was decided, the promises it must keep, and the test that it keeps them.

Does: write a complete, pickle-free, hashed and reproducible folder; check one; re-test its contract on this machine.
Does not know: how candidates are found or compared, and it never trains.
"""

from __future__ import annotations

from bakeoff.delivery.bundle import ship
from bakeoff.delivery.report import PromiseVerdict, VerifyReport
from bakeoff.delivery.verify import verify
from bakeoff.delivery.whole import WholeSeen, write_whole

__all__ = ["PromiseVerdict", "VerifyReport", "WholeSeen", "ship", "verify", "write_whole"]
