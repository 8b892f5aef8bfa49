"""What to measure next: the space of candidates, and ask-and-tell over the ledger.

Does: list candidates, predict seconds, propose trials, say who goes no further and why.
Does not: run anything, read the clock, load a model. ``ask`` is a pure function of specification and ledger.
"""

from bakeoff.search.ask import ask
from bakeoff.search.plan import Plan, PlannedCandidate, plan
from bakeoff.search.space import compose, still_wanted

__all__ = ["Plan", "PlannedCandidate", "ask", "compose", "plan", "still_wanted"]
