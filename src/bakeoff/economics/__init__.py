"""What a candidate costs and earns over the horizon, from what was measured and a dated price book.

Does: capacity at the latency limits, machines under growing traffic, people, training, tokens, worth of answers, break-even.
Does not know: the ledger, candidates' code, decisions.
"""

from bakeoff.economics.base import Usage
from bakeoff.economics.book import PriceBook, default_book, load_book
from bakeoff.economics.capacity import sustained_rate
from bakeoff.economics.parts import FACTORS, Parts, parts, retrainings, typical, uniforms
from bakeoff.economics.total import break_even_volume, draw_costs, estimate, worth_of

__all__ = [
    "FACTORS", "Parts", "PriceBook", "Usage", "break_even_volume", "default_book", "draw_costs", "estimate", "load_book",
    "parts", "retrainings", "sustained_rate", "typical", "uniforms", "worth_of",
]  # fmt: skip
