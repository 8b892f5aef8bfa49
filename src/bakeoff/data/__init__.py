"""Reading, profiling and freezing data into four disjoint splits, and the transforms that travel with an artefact.

Does: read, clean, split, profile, find leakage and personal data. Does not know: models, tasks' scores, decisions.
"""
