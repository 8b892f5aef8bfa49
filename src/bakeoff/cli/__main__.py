"""``python -P -m bakeoff.cli`` does the same as ``bakeoff``."""

import sys

from bakeoff.cli import main

sys.exit(main())
