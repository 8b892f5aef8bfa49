"""Heavy loops, and the framework-neutral arithmetic they share (schedules, batches, early stopping).

Does: train a network as a ``Strategy`` record says. Does not know: artefacts, files, runtimes, decisions.
"""
