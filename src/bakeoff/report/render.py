"""One decision, four forms."""

from __future__ import annotations

from typing import Literal, get_args

from bakeoff.schema.base import Language
from bakeoff.schema.decision import Decision
from bakeoff.schema.errors import UserError

Format = Literal["html", "md", "json"]


def render(decision: Decision, language: Language = "zh", format: Format = "html") -> str:  # noqa: A002 - the word users type
    """Return the decision as a page, a decision record or the authoritative JSON.

    Args:
        decision: what was decided; nothing is computed again.
        language: ``zh`` or ``en``; the page holds both and shows this one first, JSON always holds both.
        format: ``html`` one self-contained file, ``md`` a record in the shape of MADR, ``json`` the ``Decision`` itself.

    Raises:
        UserError: for another language or format.

    """
    _known("language", language, get_args(Language))
    _known("format", format, get_args(Format))
    if format == "json":
        return decision.model_dump_json(indent=2)
    if format == "md":
        from bakeoff.report.markdown import record

        return record(decision, language)
    from bakeoff.report.html import page

    return page(decision, language)


def _known(what: str, got: str, allowed: tuple[str, ...]) -> None:
    if got not in allowed:
        message = f"the report knows no such {what}"
        raise UserError(message, got=got, allowed=allowed)
