"""From evidence to a decision anyone can check: what to ship, how sure, what would change it.

Does: one joint posterior over quality, latency and cost; constraints; the choice; flip points; a reason per candidate.
Does not know: how anything was measured, how the decision is shown; it runs, loads and writes nothing.

The way through: ``view`` reads the ledger, ``posterior`` draws, ``world`` stacks, ``choose`` chooses, ``flips`` asks what if,
``decide`` writes it down.
"""

from bakeoff.decision.decide import decide
from bakeoff.decision.whatif import overridden

__all__ = ["decide", "overridden"]
