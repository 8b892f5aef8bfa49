"""What every ledger does, wherever its records lie: numbered records in memory, the newest row of a step counts.

Does: turn results, documents and environments into records and back. Does not know: how a record is made durable.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from numpy.typing import ArrayLike

from bakeoff.schema.base import canonical, content_key
from bakeoff.schema.trial import Environment, StepResult
from bakeoff.store.arrays import Arrays, encode
from bakeoff.store.evidence import Evidence
from bakeoff.store.journal import Record
from bakeoff.store.running import RunningStep

Sections = tuple[bytes, bytes, bytes]
"""A record without number and digest: head (JSON: what it is), text (JSON document), blob (arrays)."""


class LedgerBase(ABC):
    """An open ledger of one study. Threads of one process may share it. Close it, or use it as a context manager."""

    quarantined: tuple[int, ...] = ()
    """Numbers of records that were damaged everywhere: as if they had never been, so their steps are measured again."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._records: dict[int, Record] = {}
        self._steps: dict[str, int] = {}
        self._documents: dict[str, list[int]] = {}
        self._environments: dict[str, int] = {}
        self._parsed: dict[int, Evidence] = {}
        self._last = 0

    # ------------------------------------------------------------------------------------------------------- writing

    def append(self, result: StepResult, arrays: Mapping[str, ArrayLike] | None = None) -> None:
        """Add a step's result with its arrays; when this returns, they are durable. The step runs no longer.

        Raises:
            StepError: code 'disk': there is no room; nothing was added and everything earlier is safe.
            StudyError: the ledger cannot be written.

        """
        head = {"type": "step", "key": result.key, "data": result.data}
        try:
            self._add(head, result.model_dump_json().encode(), encode(arrays or {}))
        finally:
            self.unmark_running(result.key)

    def put_document(self, name: str, json_text: str) -> None:
        """Add a version of a named document; the newest is the one that counts, older ones stay."""
        with self._guard:
            self._add({"type": "document", "name": name}, json_text.encode(), b"")

    def put_environment(self, environment: Environment) -> str:
        """Note where steps ran; return the key that their results carry."""
        key = content_key("environment", environment)
        with self._guard:
            if key not in self._environments:
                self._add({"type": "environment", "key": key}, canonical(environment).encode(), b"")
        return key

    @abstractmethod
    def add_all(self, sections: Sequence[Sections]) -> None:
        """Add records in this order, all of them or none."""

    @abstractmethod
    def mark_running(self, key: str) -> None:
        """Mark a step as being worked on by this process; the mark dies with the process."""

    @abstractmethod
    def unmark_running(self, key: str) -> None:
        """Take the mark away."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Hold the study inside the block, so that no second run works on it.

        Raises:
            StudyError: another run holds it.

        """

    # ------------------------------------------------------------------------------------------------------- reading

    def get(self, key: str) -> Evidence | None:
        """Return the newest row of a step, or None when it was never measured."""
        with self._guard:
            self._look()
            number = self._steps.get(key)
            return None if number is None else self._evidence(number)

    def evidence(self, data: str | None = None) -> tuple[Evidence, ...]:
        """Return the newest row of every step in the order of appending, of one data fingerprint if it is given."""
        with self._guard:
            self._look()
            rows = tuple(self._evidence(number) for number in sorted(self._steps.values()))
        return rows if data is None else tuple(row for row in rows if row.result.data == data)

    def document(self, name: str) -> str | None:
        """Return the newest version of a document."""
        versions = self.document_versions(name)
        return versions[-1] if versions else None

    def document_versions(self, name: str) -> tuple[str, ...]:
        """Return every version of a document, the oldest first."""
        with self._guard:
            self._look()
            return tuple(self._records[number].text.decode() for number in self._documents.get(name, ()))

    def environments(self) -> dict[str, Environment]:
        """Return every environment by key."""
        with self._guard:
            self._look()
            texts = {key: self._records[number].text for key, number in self._environments.items()}
        return {key: Environment.model_validate_json(text) for key, text in texts.items()}

    def records(self) -> tuple[Record, ...]:
        """Return every intact record in the order of appending."""
        with self._guard:
            self._look()
            return tuple(self._records[number] for number in sorted(self._records))

    @abstractmethod
    def running(self) -> tuple[RunningStep, ...]:
        """Return the steps that living processes work on."""

    def __len__(self) -> int:
        """Return the number of records of every kind."""
        with self._guard:
            self._look()
            return len(self._records)

    @abstractmethod
    def close(self) -> None:
        """Close it and give up its locks."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --------------------------------------------------------------------------------------------------- the records

    @abstractmethod
    def _add(self, head: Mapping[str, Any], text: bytes, blob: bytes) -> None:
        """Make one record durable and index it."""

    @abstractmethod
    def _look(self) -> None:
        """Take in what others have added since, where others can add."""

    def _index(self, record: Record) -> None:
        head = json.loads(record.head)
        self._records[record.number] = record
        self._last = max(self._last, record.number)
        if head["type"] == "step":
            self._steps[head["key"]] = record.number
        elif head["type"] == "document":
            versions = self._documents.setdefault(head["name"], [])
            if record.number not in versions:
                versions.append(record.number)
        elif head["type"] == "environment":
            self._environments[head["key"]] = record.number

    def _evidence(self, number: int) -> Evidence:
        if number not in self._parsed:
            record = self._records[number]
            result = StepResult.model_validate_json(record.text)
            self._parsed[number] = Evidence(result=result, arrays=Arrays(record.blob))
        return self._parsed[number]


def sections(records: Iterable[Record]) -> list[Sections]:
    """Return what records say, without their numbers."""
    return [(record.head, record.text, record.blob) for record in records]
