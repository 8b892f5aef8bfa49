"""Turns a ``Decision`` into what people read: a page, a decision record, JSON, a dozen terminal lines.

Does: wording in Chinese and English with the same digits, charts, escaping of everything a user wrote.
Does not know: how anything was decided or measured; it computes no statistic and reads no ledger.
"""

from bakeoff.report.render import Format, render
from bakeoff.report.terminal import terminal

__all__ = ["Format", "render", "terminal"]
