"""A graph split into consecutive stages, each in a process of its own, on this machine or on others.

Does: describe the stages (``plan``), run one (``stage``), carry tensors between them (``wire``), keep them placed (``local``,
``on_ray``), push micro-batches through (``pipeline``) and answer like any other runtime (``predictor``).
Does not know: how a graph is cut (``delivery.shards``), HTTP, what the tensors mean.
"""
