"""A specification file into a ``Spec``, or every problem in it at once with line, field, reason and fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from bakeoff.schema.contradictions import Contradiction, contradictions
from bakeoff.schema.errors import BakeoffError, SpecError, UserError
from bakeoff.schema.problems import inner_of, model_of, near_paths, options, spec_paths, textual, translated
from bakeoff.schema.publish import decision_schema, spec_schema
from bakeoff.schema.spec import Spec
from bakeoff.schema.yaml_tree import MAX_CHARS, Tree, read_tree, read_value

__all__ = ["decision_schema", "load_spec", "override", "parse_spec", "spec_paths", "spec_schema"]


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
    return _checked(Tree(value=spec.model_dump(mode="json"), where="the study's specification"), overrides)


def _checked(tree: Tree, overrides: Mapping[str, str]) -> Spec:
    problems = [*tree.problems]
    for path, value in overrides.items():
        problems.extend(_override(tree, path, value))
    value = _as_written(tree.value, tree, (), Spec)
    try:
        spec = Spec.model_validate(value)
    except ValidationError as error:
        problems.extend(translated(error, tree))
    else:
        problems.extend(_contradiction(found, tree) for found in contradictions(spec))
    if problems:
        raise SpecError(sorted(problems, key=_line), where=tree.where)
    return spec


def _contradiction(found: Contradiction, tree: Tree) -> BakeoffError:
    return BakeoffError(found.what, where=tree.place(found.path), got=found.got, allowed=found.allowed, try_=found.fix)


def _line(problem: BakeoffError) -> int:
    found = re.search(r":(\d+)(?: |$)", problem.where or "")
    return int(found[1]) if found else 0


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _yaml_names(path.parent), n=1, cutoff=0.3)
        raise UserError(
            "no such specification",
            where=str(path),
            try_=f"{path.parent / near[0]}" if near else "bakeoff init DATA writes one",
        ) from None
    except IsADirectoryError:
        names = _yaml_names(path)
        raise UserError(
            "a folder, not a specification",
            where=str(path),
            try_=str(path / names[0]) if names else "name the YAML file in it",
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            try_="check the permissions of the file and its folders",
        ) from None
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
    utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    encodings = ("utf-16",) if utf16 else ("utf-8-sig", "gb18030")
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text
    raise SpecError([BakeoffError("not a text file", where=where, allowed="YAML in UTF-8 or GB18030")])


# --- text as it was written ------------------------------------------------------------------------------------------


def _as_written(value: Any, tree: Tree, path: tuple[str | int, ...], annotation: Any) -> Any:  # noqa: ANN401
    """Give text fields the text as it was written: YAML reads ``positive: yes`` as a boolean and ``1`` as a number."""
    if isinstance(value, dict):
        model = model_of(annotation)
        fields = model.model_fields if model else {}
        inner = inner_of(annotation, dict, 1)
        return {
            key: _as_written(item, tree, (*path, key), fields[key].annotation if key in fields else inner)
            for key, item in value.items()
        }
    if isinstance(value, list):
        inner = inner_of(annotation, tuple, 0)
        return [_as_written(item, tree, (*path, index), inner) for index, item in enumerate(value)]
    if isinstance(value, (bool, int, float)) and textual(annotation):
        return tree.written.get(path, str(value))
    return value


# --- overrides -----------------------------------------------------------------------------------------------------


def _override(tree: Tree, path: str, text: str) -> Iterator[BakeoffError]:
    where = f"--set {path}"
    parts = _override_parts(path)
    if parts is None:
        known = spec_paths()
        near = near_paths(path, known)
        yield BakeoffError(
            "unknown setting",
            where=where,
            allowed=None if near else known,
            try_=" or ".join(near) or "one of the paths above",
        )
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
        model = model_of(annotation)
        if (
            model is None
            and any(get_origin(option) is dict for option in options(annotation))
            and index + 1 < len(parts)
        ):
            return (*parts[: index + 1], ".".join(parts[index + 1 :]))
    return tuple(parts)


def _forget(tree: Tree, parts: tuple[str, ...]) -> None:
    """Let errors about an overridden value name the setting instead of a line."""
    tree.overridden.add(parts)
    for table in (tree.lines, tree.written):
        for known in [known for known in table if known[: len(parts)] == parts]:
            del table[known]
