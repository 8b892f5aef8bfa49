"""One file per asset, each with ``RECIPE``. The file's name is the asset's name with ``_`` for every ``-`` and ``.``."""
