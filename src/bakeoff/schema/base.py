"""What every travelling record has in common: frozen, closed, JSON both ways."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Language = Literal["zh", "en"]


class Record(BaseModel):
    """An immutable value that refuses unknown fields and survives a JSON round trip."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Words(Record):
    """One sentence or phrase in both languages a person may read; always written together."""

    zh: str
    en: str

    def said(self, language: str) -> str:
        """Return the text in ``language`` (``zh`` or ``en``)."""
        return self.zh if language == "zh" else self.en


def both(en: str, zh: str) -> Words:
    """Return a sentence that a record keeps in two fields; where the Chinese was never written, the English stands in."""
    return Words(zh=zh or en, en=en)


def canonical(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return ``value`` as JSON with sorted keys and no spaces, so that equal values have equal text."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def content_key(*parts: Any) -> str:  # noqa: ANN401 - any JSON values
    """Return the first 32 hex digits of the SHA-256 of the parts' canonical JSON: a content address."""
    return hashlib.sha256(canonical(list(parts)).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:  # noqa: ANN401 - json.dumps hands over whatever it does not know
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    message = f"{type(value).__name__} is not JSON"
    raise TypeError(message)
