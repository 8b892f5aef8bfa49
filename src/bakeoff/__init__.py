"""Measured technology selection for AI applications.

    >>> from bakeoff import Study                                   # doctest: +SKIP
    >>> study = Study.open("bakeoff.yaml", out="reviews.study")     # doctest: +SKIP
    >>> decision = study.run()                                      # doctest: +SKIP
    >>> study.ship("bundle")                                        # doctest: +SKIP

Does: measure candidate stacks on your data and hardware, decide, deliver what was decided.
Does not: train large models, host anything, send your data anywhere unless the specification says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["BakeoffError", "Decision", "Plan", "Spec", "Study", "UserError", "__version__", "load_spec", "verify"]

if TYPE_CHECKING:
    from bakeoff.delivery.verify import verify
    from bakeoff.schema import BakeoffError, Decision, Spec, UserError
    from bakeoff.schema.loading import load_spec
    from bakeoff.search import Plan
    from bakeoff.study import Study

_HOMES = {
    "BakeoffError": "bakeoff.schema", "Decision": "bakeoff.schema", "Plan": "bakeoff.search", "Spec": "bakeoff.schema",
    "Study": "bakeoff.study", "UserError": "bakeoff.schema", "load_spec": "bakeoff.schema.loading", "verify": "bakeoff.delivery",
}  # fmt: skip


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute of any kind
    """Import a public name when it is first used, so that ``import bakeoff`` and ``--help`` stay light."""
    if name not in _HOMES:
        message = f"module 'bakeoff' has no attribute '{name}'"
        raise AttributeError(message)
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
