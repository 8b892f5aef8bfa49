"""YAML text as plain values that remember their lines and how they were written.

Refuses what a specification has no use for and an attacker or a slip would: duplicate keys, tags, merge keys, alias
bombs, endless nesting, non-finite numbers. Every problem is collected, not only the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bakeoff.schema.errors import BakeoffError, SpecError

if TYPE_CHECKING:
    import yaml

Path = tuple[str | int, ...]
MAX_CHARS = 200_000
MAX_NODES = 20_000
MAX_DEPTH = 24
_TAG = "tag:yaml.org,2002:"


@dataclass
class Tree:
    """A YAML mapping read: ``value`` is nested dicts, lists and scalars.

    ``lines`` gives the line (from 1) of every path, the key's where there is a key; ``written`` the literal text of every scalar.
    """

    value: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    problems: list[BakeoffError] = field(default_factory=list)
    where: str = ""
    overridden: set[Path] = field(default_factory=set)

    def line(self, path: Path) -> int:
        """Return the line of the nearest known ancestor of ``path``."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def place(self, path: Path) -> str:
        """``bakeoff.yaml:12 requirements.latency.p95``, or ``--set requirements.latency.p95`` for what was overridden."""
        if any(path[: len(known)] == known for known in self.overridden):
            return f"--set {dotted(path)}"
        line = f":{self.line(path)}" if self.lines else ""
        return f"{self.where}{line} {dotted(path)}".rstrip()


def dotted(path: Iterable[str | int]) -> str:
    """``('data', 'input', 0)`` → ``data.input[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_tree(text: str, where: str) -> Tree:
    """Read YAML whose top level is a mapping.

    Raises:
        SpecError: not YAML, empty, too large, or not a mapping. Smaller problems are left in ``problems``.

    """
    if len(text) > MAX_CHARS:
        raise _refused(
            "too long for a specification",
            where,
            got=f"{len(text):,} characters",
            allowed=f"at most {MAX_CHARS:,}",
            try_="give the YAML specification here, and the data file in data.file",
        )
    root = _compose(text, where)
    if root is None:
        raise _refused("the file is empty", where, try_="bakeoff init DATA writes a specification")
    builder = _Builder(Tree(where=where))
    value = builder.build(root, ())
    if not isinstance(value, dict):
        raise _refused(
            "the top level must be 'key: value' lines",
            where,
            got=type(value).__name__,
            allowed="name, task, data, …",
            try_="bakeoff init DATA writes a specification",
        )
    builder.tree.value = value
    return builder.tree


def read_value(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Read one YAML value, such as the right side of ``--set key=value``."""
    root = _compose(text, "--set")
    builder = _Builder(Tree(where="--set"))
    value = None if root is None else builder.build(root, ())
    if builder.tree.problems:
        raise SpecError(builder.tree.problems)
    return value


def _compose(text: str, where: str) -> yaml.Node | None:
    import yaml

    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)  # type: ignore[no-any-return,no-untyped-call,unused-ignore]
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text, where) from None
    except yaml.YAMLError as error:
        raise _refused("not YAML", where, got=" ".join(str(error).split())[:200]) from None
    except RecursionError:
        raise _refused("nested too deeply", where, allowed=f"at most {MAX_DEPTH} levels") from None


def _syntax(error: yaml.MarkedYAMLError, text: str, where: str) -> SpecError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    shown = lines[line - 1] if line <= len(lines) else ""
    if "'\\t'" in str(error.problem) or shown[: len(shown) - len(shown.lstrip())].count("\t"):
        what, hint = "a tab stands where YAML allows only spaces", "indent with spaces"
    elif "alias" in f"{error.problem}{error.context}":
        what, hint = f"not YAML: {error.problem}", 'quote a value that starts with *, for example include: ["*"]'
    else:
        what, hint = f"not YAML: {error.problem or error.context}", "check the colon, the quotes and the indentation"
    return _refused(what, f"{where}:{line}", got=shown.strip()[:120] or None, try_=hint)


def _refused(what: str, where: str, **facts: Any) -> SpecError:  # noqa: ANN401 - facts of BakeoffError
    return SpecError([BakeoffError(what, where=where, **facts)])


class _Builder:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.nodes = 0

    def build(self, node: yaml.Node, path: Path) -> Any:  # noqa: ANN401 - whatever YAML holds
        import yaml

        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise _refused(
                "too large once its aliases are expanded",
                self.tree.where,
                allowed=f"at most {MAX_NODES:,} values, {MAX_DEPTH} levels deep",
                try_="write the values out without & and *",
            )
        self.tree.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key.value, str):
                self._problem("a key must be plain text", (*path, "?"), key)
                continue
            here = (*path, key.value)
            if key.value in found:
                first = self.tree.lines[here]
                self._problem(
                    f"'{key.value}' is given twice, first on line {first}", here, key, try_="keep one of them"
                )
                continue
            if key.tag == f"{_TAG}merge":
                self._problem("merge keys (<<) are not supported", here, key, try_="write the fields out")
                continue
            self.tree.lines[here] = key.start_mark.line + 1
            found[key.value] = self.build(item, here)
        return found

    def _scalar(self, node: yaml.Node, path: Path) -> Any:  # noqa: ANN401 - whatever YAML holds
        import yaml

        text = str(node.value)
        self.tree.written[path] = text
        kind = node.tag.removeprefix(_TAG)
        if kind in {"str", "timestamp", "value"}:
            return text
        if kind not in {"int", "float", "bool", "null"}:
            self._problem("tags are not allowed", path, node, got=node.tag, try_="remove the word that starts with !")
            return text
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node)  # type: ignore[no-untyped-call,unused-ignore]
        except ValueError:
            return text
        if isinstance(value, float) and not math.isfinite(value):
            self._problem("must be a finite number", path, node, got=text)
            return 0.0
        return value

    def _problem(self, what: str, path: Path, node: yaml.Node, **facts: Any) -> None:  # noqa: ANN401
        line = node.start_mark.line + 1
        self.tree.problems.append(BakeoffError(what, where=f"{self.tree.where}:{line} {dotted(path)}", **facts))
