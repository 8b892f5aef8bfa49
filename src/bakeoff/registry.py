"""Finds plugins: a file name in one of our packages first, then entry points of other distributions.

Knows groups and names; knows nothing about what a plugin does.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
from functools import cache
from typing import Any

from bakeoff.schema.errors import UserError
from bakeoff.schema.plugin import Needs

GROUPS = ("tasks", "models", "compression", "runtimes", "risk")
INJECT = "BAKEOFF_PLUGINS"
"""Environment variable that adds plugins without installing them; workers inherit it."""
_NOT_PLUGINS = frozenset({"base"})


def plugins(group: str) -> dict[str, Any]:
    """Return every plugin of ``group`` by name, ours in alphabetical order, then third parties'.

    A plugin is a module's ``PLUGIN`` object; its name is the file's name, or the entry point's.
    """
    return _installed(group) | _injected(group)


def plugin(group: str, name: str) -> Any:  # noqa: ANN401 - each group has its own contract
    """Return one plugin, or say which there are; one of ours is imported alone, without looking at the others."""
    injected = _injected(group)
    if name in injected:
        return injected[name]
    found = _ours(group, name)
    if found is not None:
        return found
    known = plugins(group)
    if name not in known:
        what = f"no such plugin in {group}"
        raise UserError(what, got=name, allowed=sorted(known))
    return known[name]


@cache
def _installed(group: str) -> dict[str, Any]:
    package = importlib.import_module(f"bakeoff.{group}")
    found: dict[str, Any] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda item: item.name):
        own = _ours(group, info.name)
        if own is not None:
            found[info.name] = own
    for point in importlib.metadata.entry_points(group=f"bakeoff.{group}"):
        found.setdefault(point.name, point.load())
    return found


@cache
def _ours(group: str, name: str) -> Any:  # noqa: ANN401 - each group has its own contract
    """Return the ``PLUGIN`` of one of our modules, None when there is no such module or it is no plugin."""
    module = f"bakeoff.{group}.{name}"
    if (
        name in _NOT_PLUGINS
        or name.startswith("_")
        or not name.isidentifier()
        or importlib.util.find_spec(module) is None
    ):
        return None
    return getattr(importlib.import_module(module), "PLUGIN", None)


def _injected(group: str) -> dict[str, Any]:
    """Return plugins that the environment names as ``module:name``, a mapping of groups to plugins by name."""
    address = os.environ.get(INJECT)
    if not address:
        return {}
    module, _, name = address.partition(":")
    return dict(getattr(importlib.import_module(module), name or "PLUGINS").get(group, {}))


def missing(needs: Needs) -> tuple[str, ...]:
    """Return the modules of ``needs`` that are not installed (nothing is imported)."""
    return tuple(name for name in needs.modules if importlib.util.find_spec(name) is None)


def versions(needs: Needs) -> dict[str, str]:
    """Return the installed version of every module of ``needs``, ``'none'`` for a missing one."""
    return {name: _version(name) for name in needs.modules}


@cache
def _version(module: str) -> str:
    for distribution in _distributions().get(module, [module]):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "none"


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
