"""Carries out trials: builds, exports, compresses, loads, predicts, times and checks candidates, each in a process of its own.

Does: isolate, time, refuse what the sample cannot carry, notice a busy machine, keep every finished step in the ledger.
Does not: choose what to try next (``search``), say who wins (``decision``), or know any model family by name.
"""
