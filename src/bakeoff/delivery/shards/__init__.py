"""Cuts a transformer's graph into consecutive stages when it is shipped.

Does: find where few tensors cross (``cuts``), time what lies between on real rows (``timing``), choose the cuts that make the slowest
stage fastest (``planner``), write and check the parts and measure each alone (``split``, ``measure``).
Does not know: how stages run together (``runtimes.shards``).
"""

from bakeoff.delivery.shards.split import Sharding, Split, split_artifact

__all__ = ["Sharding", "Split", "split_artifact"]
