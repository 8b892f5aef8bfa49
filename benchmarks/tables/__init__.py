"""Recorded tables: complete exhaustive ledgers of small real studies, which searches and deciders are replayed on.

Does: fetch the data, train every arm at every fraction with every seed, and write ``<study>.table`` beside this file.
Does not know: any planner. Third-party rows are never written here: only class indices and costs are.
"""
