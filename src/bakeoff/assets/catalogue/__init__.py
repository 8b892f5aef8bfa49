"""One file per asset, each with ``RECIPE``; the file is called as the asset, with ``_`` for every ``-`` and ``.``."""
