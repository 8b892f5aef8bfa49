"""What holds for every test."""

from __future__ import annotations

import os

os.environ["BAKEOFF_COST_BOOK"] = "off"  # tests neither read nor write what this machine's real studies taught
