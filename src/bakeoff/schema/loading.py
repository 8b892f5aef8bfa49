"""A specification file into a ``Spec``, or every problem in it at once with line, field, reason and fix."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bakeoff.schema.contradictions import contradictions
from bakeoff.schema.errors import BakeoffError, SpecError, UserError
from bakeoff.schema.publish import decision_schema, spec_schema
from bakeoff.schema.spec import Spec
from bakeoff.schema.yaml_tree import MAX_CHARS, Tree, dotted, read_tree, read_value

__all__ = ["decision_schema", "load_spec", "override", "parse_spec", "spec_paths", "spec_schema"]

_EXAMPLES = {"name": "name: my-study", "task": "task: text-classification", "data": "data: {file: rows.csv, target: label}",
             "data.file": "file: rows.csv", "data.target": "target: label"}  # fmt: skip


def load_spec(path: str | Path, overrides: Mapping[str, str] | None = None) -> Spec:
    """Read a specification file (UTF-8 with or without BOM, UTF-16 with BOM, or GB18030).

    Args:
        path: the YAML file.
        overrides: what-if settings by dotted path, values as YAML: ``{"requirements.latency.p95": "80ms"}``.

    Raises:
        SpecError: with every problem found.
        UserError: the file cannot be read.

    """
    path = Path(path)
    return parse_spec(_read(path), path.name, overrides)


def parse_spec(text: str, where: str = "specification", overrides: Mapping[str, str] | None = None) -> Spec:
    """Read a specification from YAML text; ``where`` names it in errors. See ``load_spec``."""
    return _checked(read_tree(text, where), overrides or {})


def override(spec: Spec, overrides: Mapping[str, str]) -> Spec:
    """Return a loaded specification with some settings changed, as ``load_spec`` would have read it.

    Raises:
        SpecError: an unknown path, a value that is not allowed, or a contradiction with the other settings.

    """
    return _checked(Tree(value=spec.model_dump(mode="json"), where=spec.name), overrides)


def _checked(tree: Tree, overrides: Mapping[str, str]) -> Spec:
    problems = [*tree.problems]
    for path, value in overrides.items():
        problems.extend(_override(tree, path, value))
    value = _as_written(tree.value, tree, (), Spec)
    try:
        spec = Spec.model_validate(value)
    except ValidationError as error:
        problems.extend(_translated(error, tree))
    else:
        for found in contradictions(spec):
            problems.append(BakeoffError(found.what, where=tree.place(found.path), got=found.got, allowed=found.allowed, try_=found.fix))
    if problems:
        raise SpecError(sorted(problems, key=_line), where=tree.where)
    return spec


def override(spec: Spec, overrides: Mapping[str, str]) -> Spec:
    """Return ``spec`` with dotted fields changed as on the command line; checked like a file, with the same messages.

    Raises:
        SpecError: an unknown field or a value that does not fit; all of them are listed.

    """
    import yaml

    text = yaml.safe_dump(spec.model_dump(mode="json"), allow_unicode=True, sort_keys=False)
    return parse_spec(text, "the study's specification", overrides)


def _line(problem: BakeoffError) -> int:
    found = re.search(r":(\d+)(?: |$)", problem.where or "")
    return int(found[1]) if found else 0


def spec_paths() -> tuple[str, ...]:
    """Return every dotted path a specification may set, in file order."""
    return tuple(_leaves(Spec, ()))


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _yaml_names(path.parent), n=1, cutoff=0.3)
        raise UserError(
            "no such specification", where=str(path), try_=f"{path.parent / near[0]}" if near else "bakeoff init DATA writes one"
        ) from None
    except IsADirectoryError:
        names = _yaml_names(path)
        raise UserError(
            "a folder, not a specification", where=str(path), try_=str(path / names[0]) if names else "name the YAML file in it"
        ) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path), try_="check the permissions of the file and its folders") from None
    if len(raw) > 4 * MAX_CHARS:
        raise SpecError([BakeoffError(
            "too large for a specification", where=path.name, got=f"{len(raw):,} bytes",
            try_="give the YAML specification here, and the data file in data.file",
        )])  # fmt: skip
    return _decoded(raw, path.name)


def _yaml_names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.suffix in {".yaml", ".yml"})
    except OSError:
        return []


def _decoded(raw: bytes, where: str) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "gb18030")  # type: ignore[assignment]
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text
    raise SpecError([BakeoffError("not a text file", where=where, allowed="YAML in UTF-8 or GB18030")])


# --- reading the model's annotations -------------------------------------------------------------------------------


def _options(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401 - type annotations are any objects
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return tuple(option for part in get_args(annotation) for option in _options(part))
    return (annotation,)


def _model(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    return next((option for option in _options(annotation) if isinstance(option, type) and issubclass(option, BaseModel)), None)


def _inner(annotation: Any, origin: type, index: int) -> Any:  # noqa: ANN401
    found = next((option for option in _options(annotation) if get_origin(option) is origin), None)
    return get_args(found)[index] if found else Any


def _textual(annotation: Any) -> bool:  # noqa: ANN401
    return any(option is str or (get_origin(option) is Literal and isinstance(get_args(option)[0], str)) for option in _options(annotation))


def _leaves(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
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
        model = _model(field.annotation)
    return field


def _as_written(value: Any, tree: Tree, path: tuple[str | int, ...], annotation: Any) -> Any:  # noqa: ANN401
    """Give text fields the text as it was written: YAML reads ``positive: yes`` as a boolean and ``1`` as a number."""
    if isinstance(value, dict):
        model = _model(annotation)
        fields = model.model_fields if model else {}
        inner = _inner(annotation, dict, 1)
        return {key: _as_written(item, tree, (*path, key), fields[key].annotation if key in fields else inner) for key, item in value.items()}
    if isinstance(value, list):
        inner = _inner(annotation, tuple, 0)
        return [_as_written(item, tree, (*path, index), inner) for index, item in enumerate(value)]
    if isinstance(value, (bool, int, float)) and _textual(annotation):
        return tree.written.get(path, str(value))
    return value


# --- overrides -----------------------------------------------------------------------------------------------------


def _override(tree: Tree, path: str, text: str) -> Iterator[BakeoffError]:
    where = f"--set {path}"
    parts = _override_parts(path)
    if parts is None:
        known = spec_paths()
        near = _near_paths(path, known)
        yield BakeoffError("unknown setting", where=where, allowed=None if near else known, try_=" or ".join(near) or "one of the paths above")
        return
    try:
        value = None if text.strip().lower() == "none" else read_value(text)
    except SpecError as error:
        yield from (BakeoffError(problem.what, where=where, got=text, try_=problem.try_) for problem in error.problems)
        return
    holder = tree.value
    for part in parts[:-1]:
        if not isinstance(holder.get(part), dict):
            holder[part] = {}
        holder = holder[part]
    holder[parts[-1]] = value
    _forget(tree, parts)
    tree.written[parts] = text.strip()


def _override_parts(path: str) -> tuple[str, ...] | None:
    """Split a dotted path along the model; what follows a dict field is one key, dots and all."""
    model: type[BaseModel] | None = Spec
    parts = path.split(".")
    for index, part in enumerate(parts):
        if model is None or part not in model.model_fields:
            return None
        annotation = model.model_fields[part].annotation
        model = _model(annotation)
        if model is None and any(get_origin(option) is dict for option in _options(annotation)) and index + 1 < len(parts):
            return (*parts[: index + 1], ".".join(parts[index + 1 :]))
    return tuple(parts)


def _forget(tree: Tree, parts: tuple[str, ...]) -> None:
    """Let errors about an overridden value name the setting instead of a line."""
    tree.overridden.add(parts)
    for table in (tree.lines, tree.written):
        for known in [known for known in table if known[: len(parts)] == parts]:
            del table[known]


def _near_paths(path: str, known: tuple[str, ...]) -> list[str]:
    leaf = path.rsplit(".", 1)[-1]
    same = [name for name in known if name.rsplit(".", 1)[-1] == leaf or f".{path}." in f".{name}."]
    return same[:3] or difflib.get_close_matches(path, known, n=2, cutoff=0.5) or _near_leaf(leaf, known)


def _near_leaf(leaf: str, known: tuple[str, ...]) -> list[str]:
    leaves = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
    return [leaves[found] for found in difflib.get_close_matches(leaf, leaves, n=2, cutoff=0.6)]


# --- pydantic's errors in our words --------------------------------------------------------------------------------


def _translated(error: ValidationError, tree: Tree) -> Iterator[BakeoffError]:
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
        inside = (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int) and part < len(value))
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
        return BakeoffError("required, but missing", where=where, allowed=_described(path), try_=f"add {_EXAMPLES.get(name, name.rsplit('.', 1)[-1] + ': …')}")
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
    slug = re.sub(r"-+", "-", re.sub(r"[^a-z0-9_-]" if lower else r"[^\w.-]", "-", got.lower() if lower else got)).strip("-")[:64]
    kind = "lower-case letters, digits, _ and -" if lower else "letters, digits, '.', '_' and '-', at most 64"
    return BakeoffError("not a usable name", where=where, got=got, allowed=kind, try_=f"{path[-1]}: {slug}" if slug else None)


def _unknown_key(path: tuple[str | int, ...], where: str) -> BakeoffError:
    parent = _field(path[:-1])
    model = (_model(parent.annotation) if parent else None) or (Spec if len(path) == 1 else None)
    names = list(model.model_fields) if model else []
    key = str(path[-1])
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    elsewhere = [] if near else _near_paths(key, spec_paths())
    hint = f"did you mean '{near[0]}'?" if near else f"did you mean {' or '.join(elsewhere)}?" if elsewhere else "remove it"
    return BakeoffError(f"unknown key '{key}'", where=where, allowed=names, try_=hint)


def _not_allowed(path: tuple[str | int, ...], where: str, got: str) -> BakeoffError:
    field = _field(path)
    allowed = [str(value) for option in _options(field.annotation if field else Any) if get_origin(option) is Literal for value in get_args(option)]
    near = difflib.get_close_matches(got, allowed, n=1, cutoff=0.5)
    return BakeoffError("not one of the allowed values", where=where, got=got, allowed=allowed, try_=near[0] if near else None)


def _described(path: tuple[str | int, ...]) -> str | None:
    field = _field(path)
    if field is None:
        return None
    model = _model(field.annotation)
    if model is not None:
        return f"keys {', '.join(model.model_fields)}"
    return field.description.rstrip(".") if field.description else None


def _lowered(text: str) -> str:
    """Pydantic's sentence without its subject: 'Input should be a valid integer, unable…' → 'must be a valid integer'."""
    text = re.sub(r"^(Input|String|Value) should ", "must ", text.split(", unable")[0])
    return text[:1].lower() + text[1:]
