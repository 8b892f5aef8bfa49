"""What pydantic found wrong with a specification, in our words: field, line, got, allowed, and the fix."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bakeoff.schema.errors import BakeoffError
from bakeoff.schema.spec import Spec
from bakeoff.schema.yaml_tree import Tree, dotted

_EXAMPLES = {"name": "name: my-study", "task": "task: text-classification", "data": "data: {file: rows.csv, target: label}",
             "data.file": "file: rows.csv", "data.target": "target: label"}  # fmt: skip


def spec_paths() -> tuple[str, ...]:
    """Return every dotted path a specification may set, in file order."""
    return tuple(_leaves(Spec, ()))


# --- reading the model's annotations -------------------------------------------------------------------------------


def options(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401 - type annotations are any objects
    """Return the members of a union, or the annotation alone; ``Annotated`` is looked through."""
    if get_origin(annotation) is Annotated:
        return options(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return tuple(option for part in get_args(annotation) for option in options(part))
    return (annotation,)


def model_of(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    """Return the record an annotation holds, None where it holds none."""
    return next(
        (option for option in options(annotation) if isinstance(option, type) and issubclass(option, BaseModel)), None
    )


def inner_of(annotation: Any, origin: type, index: int) -> Any:  # noqa: ANN401
    """Return the argument of a container type: ``inner_of(dict[str, float], dict, 1)`` is ``float``."""
    found = next((option for option in options(annotation) if get_origin(option) is origin), None)
    return get_args(found)[index] if found else Any


def textual(annotation: Any) -> bool:  # noqa: ANN401
    """Whether text is accepted."""
    return any(
        option is str or (get_origin(option) is Literal and isinstance(get_args(option)[0], str))
        for option in options(annotation)
    )


def _leaves(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = model_of(field.annotation)
        if inner:
            yield from _leaves(inner, (*path, name))
        else:
            yield ".".join((*path, name))


def _field(path: tuple[str | int, ...]) -> FieldInfo | None:
    """Return the field a path leads to, None where it leads into a dict, a list or nowhere."""
    model: type[BaseModel] | None = Spec
    field: FieldInfo | None = None
    for part in path:
        if model is None or part not in model.model_fields:
            return None
        field = model.model_fields[str(part)]
        model = model_of(field.annotation)
    return field


def near_paths(path: str, known: tuple[str, ...]) -> list[str]:
    """Return dotted paths that may have been meant: same last part, then similar ones."""
    leaf = path.rsplit(".", 1)[-1]
    same = [name for name in known if name.rsplit(".", 1)[-1] == leaf or f".{path}." in f".{name}."]
    return same[:3] or difflib.get_close_matches(path, known, n=2, cutoff=0.5) or _near_leaf(leaf, known)


def _near_leaf(leaf: str, known: tuple[str, ...]) -> list[str]:
    leaves = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
    return [leaves[found] for found in difflib.get_close_matches(leaf, leaves, n=2, cutoff=0.6)]


# --- pydantic's errors in our words --------------------------------------------------------------------------------


def translated(error: ValidationError, tree: Tree) -> Iterator[BakeoffError]:
    """Yield one problem for every wrong field."""
    seen: set[tuple[str | int, ...]] = set()
    for item in error.errors(include_url=False):
        path = _path(item["loc"], tree.value, missing=item["type"] in {"missing", "extra_forbidden"})
        if path in seen:  # each member of a union complains for itself
            continue
        seen.add(path)
        yield _problem(item, path, tree)


def _path(loc: tuple[str | int, ...], value: Any, *, missing: bool) -> tuple[str | int, ...]:  # noqa: ANN401
    """Drop the parts of a pydantic location that name a union's member rather than a key."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if inside:
            value = value[part]
            path.append(part)
        elif missing and index == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _problem(item: Any, path: tuple[str | int, ...], tree: Tree) -> BakeoffError:  # noqa: ANN401 - pydantic's ErrorDetails
    where = tree.place(path)
    if item["type"] == "extra_forbidden":
        return _unknown_key(path, where)
    if item["type"] == "missing":
        name = dotted(path)
        return BakeoffError(
            "required, but missing",
            where=where,
            allowed=_described(path),
            try_=f"add {_EXAMPLES.get(name, name.rsplit('.', 1)[-1] + ': …')}",
        )
    got = tree.written.get(path, item["input"])
    got = got if isinstance(got, str) else repr(got)[:120]
    if item["type"] == "literal_error":
        return _not_allowed(path, where, got)
    if item["type"] == "value_error":
        what = str(item["ctx"]["error"])
        return BakeoffError(what, where=where, allowed=None if "allowed" in what else _described(path))
    if item["type"] == "string_pattern_mismatch":
        return _mismatch(path, where, got, item["ctx"]["pattern"])
    return BakeoffError(_lowered(item["msg"]), where=where, got=got, allowed=_described(path))


def _mismatch(path: tuple[str | int, ...], where: str, got: str, pattern: str) -> BakeoffError:
    """Say a pattern in words where it is one of the two kinds of name."""
    if pattern.startswith("^http"):
        return BakeoffError("not a web address", where=where, got=got, allowed="http://… or https://…")
    lower = pattern.startswith("^[a-z")
    slug = re.sub(
        r"-+", "-", re.sub(r"[^a-z0-9_-]" if lower else r"[^\w.-]", "-", got.lower() if lower else got)
    ).strip("-")[:64]
    kind = "lower-case letters, digits, _ and -" if lower else "letters, digits, '.', '_' and '-', at most 64"
    return BakeoffError(
        "not a usable name", where=where, got=got, allowed=kind, try_=f"{path[-1]}: {slug}" if slug else None
    )


def _unknown_key(path: tuple[str | int, ...], where: str) -> BakeoffError:
    parent = _field(path[:-1])
    model = (model_of(parent.annotation) if parent else None) or (Spec if len(path) == 1 else None)
    names = list(model.model_fields) if model else []
    key = str(path[-1])
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    elsewhere = [] if near else near_paths(key, spec_paths())
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else f"did you mean {' or '.join(elsewhere)}?"
        if elsewhere
        else "remove it"
    )
    return BakeoffError(f"unknown key '{key}'", where=where, allowed=names, try_=hint)


def _not_allowed(path: tuple[str | int, ...], where: str, got: str) -> BakeoffError:
    field = _field(path)
    allowed = [
        str(value)
        for option in options(field.annotation if field else Any)
        if get_origin(option) is Literal
        for value in get_args(option)
    ]
    near = difflib.get_close_matches(got, allowed, n=1, cutoff=0.5)
    return BakeoffError(
        "not one of the allowed values", where=where, got=got, allowed=allowed, try_=near[0] if near else None
    )


def _described(path: tuple[str | int, ...]) -> str | None:
    field = _field(path)
    if field is None:
        return None
    model = model_of(field.annotation)
    if model is not None:
        return f"keys {', '.join(model.model_fields)}"
    return field.description.rstrip(".") if field.description else None


def _lowered(text: str) -> str:
    """Pydantic's sentence without its subject: 'Input should be a valid integer, unable…' → 'must be a valid integer'."""
    text = re.sub(r"^(Input|String|Value) should ", "must ", text.split(", unable", maxsplit=1)[0])
    return text[:1].lower() + text[1:]
