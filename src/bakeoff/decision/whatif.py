"""What-if: another specification from dotted paths, validated like the first one."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from bakeoff.schema.errors import BakeoffError, SpecError, UserError
from bakeoff.schema.spec import Spec


def overridden(spec: Spec, changes: Mapping[str, Any]) -> Spec:
    """Return ``spec`` with the values at dotted paths replaced (``traffic.volume``, ``value.errors.neg->pos``).

    Raises:
        SpecError: unknown paths or values that do not fit; all of them are listed.

    """
    if not changes:
        return spec
    content = spec.model_dump(mode="json")
    problems: list[BakeoffError] = []
    for path, value in changes.items():
        problem = _put(spec, content, path.split("."), value)
        if problem is not None:
            problems.append(problem)
    if problems:
        raise SpecError(problems)
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        raise SpecError([
            UserError(found["msg"], where=".".join(str(part) for part in found["loc"]), got=str(found["input"]))
            for found in error.errors()
        ]) from error  # fmt: skip


def _put(spec: Spec, content: dict[str, Any], path: list[str], value: object) -> BakeoffError | None:
    model: object = spec
    place: Any = content
    for depth, name in enumerate(path):
        if isinstance(model, BaseModel):
            known = list(type(model).model_fields)
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean '{'.'.join([*path[:depth], near[0]])}'?" if near else None
                return UserError(
                    "the specification has no such field", where=".".join(path), got=name, allowed=known, try_=hint
                )
        elif not isinstance(model, dict):
            return UserError("nothing below this field can be set", where=".".join(path[:depth]), got=".".join(path))
        if isinstance(model, dict):
            name = ".".join(path[depth:])  # noqa: PLW2901 - keys of a mapping may hold dots
            place[name] = value
            return None
        if depth == len(path) - 1:
            place[name] = value
            return None
        model, place = getattr(model, name), place[name]
    return None
