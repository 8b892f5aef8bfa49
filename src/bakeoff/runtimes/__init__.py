"""Runtimes, one file each: a plugin loads an artefact and predicts. Sees schema and data.transforms only, so that it can live in a bundle.

Does: load, predict, release. Does not know: training, timing, decisions.
"""
