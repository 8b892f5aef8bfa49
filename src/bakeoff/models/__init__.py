"""Model families, one file each: a plugin builds an artefact from rows and exports it to other formats.

Does: training, prompting set-up, export. Does not know: how an artefact is run, timed, priced or chosen.
"""
