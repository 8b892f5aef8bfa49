"""Where jobs run: in processes of this machine, or on the nodes of a Ray cluster.

Does: start a job, bring its results back as they come, say why it ended early. Does not know: steps, the ledger, what is worth running.
"""
