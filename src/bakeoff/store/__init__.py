"""The evidence ledger and the artefacts it points to.

Does: append durably, read back, lock, store artefact directories by content key. Does not know: what the numbers mean.
"""
