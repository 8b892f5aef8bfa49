"""What ``bakeoff ledger`` does: describe a ledger, copy one between a study folder and a database, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from bakeoff.schema.base import Record
from bakeoff.schema.errors import StudyError
from bakeoff.store.ledger_base import LedgerBase, sections
from bakeoff.store.places import contents, is_url, open_ledger, remember, remembered
from bakeoff.store.postgres import studies
from bakeoff.store.postgres_link import Address


class Described(Record):
    """What a ledger holds."""

    place: str = Field(description="Study folder or URL, without password.")
    studies: dict[str, int] | None = Field(None, description="Records of every study of a database.")
    steps: int = Field(0, description="Steps, done again or not.")
    records: int = Field(0, description="Records of every kind.")
    documents: dict[str, int] = Field(default_factory=dict, description="Versions of every document.")
    environments: int = Field(0, description="Environments that steps ran in.")
    quarantined: tuple[int, ...] = Field((), description="Numbers of records that are damaged or gone.")
    running: tuple[str, ...] = Field((), description="Keys of steps that are being worked on.")

    def text(self) -> str:
        """Return it for people."""
        if self.studies is not None:
            lines = [f"  {name}  {count} records" for name, count in self.studies.items()]
            return "\n".join([f"{self.place}: {len(self.studies)} studies", *lines])
        lines = [f"{self.place}: {self.records} records, {self.steps} steps, {self.environments} environments"]
        lines += [f"  {name}  {count} version{'s' if count > 1 else ''}" for name, count in self.documents.items()]
        lines += [f"  damaged or gone: {', '.join(map(str, self.quarantined))}"] if self.quarantined else []
        return "\n".join([*lines, *(f"  running: {key}" for key in self.running)])


def described(place: str) -> Described:
    """Describe the ledger of a study folder or URL; of a database without a study's name, its studies.

    Raises:
        StudyError: there is none, or it cannot be opened.

    """
    if is_url(place) and not Address.of(place).study:
        return Described(place=Address.of(place).shown, studies=studies(place))
    with open_ledger(place) as ledger:
        heads = [json.loads(record.head) for record in ledger.records()]
        names = [head["name"] for head in heads if head["type"] == "document"]
        return Described(
            place=_shown(place),
            steps=len(ledger.evidence()),
            records=len(heads),
            documents={name: names.count(name) for name in dict.fromkeys(names)},
            environments=len(ledger.environments()),
            quarantined=ledger.quarantined,
            running=tuple(mark.key for mark in ledger.running()),
        )


def copied(source: str, target: str, artifacts: str | None = None) -> tuple[int, int]:
    """Copy a ledger into a folder or database that has nothing else of the study.

    Args:
        source: study folder or URL with the study's name.
        target: the same; a URL without a name gets the study's own.
        artifacts: where the artefacts of a study copied to a folder are shared; default: where the source folder says.

    Returns:
        Records copied, and records that were there before.

    Raises:
        StudyError: the source is no ledger, or the target holds something else.

    """
    with open_ledger(source) as ours:
        if is_url(target):
            with open_ledger(target, create=True, study=_name(ours, source)) as theirs:
                return copy_ledger(ours, theirs)
        shared = artifacts or (None if is_url(source) else remembered(Path(source)).artifacts)
        places = remembered(Path(target))
        if places.ledger is not None:
            what = "the target's ledger is in a database"
            raise StudyError(what, where=target, try_="copy to that database, or into another folder")
        with open_ledger(target, create=True) as theirs:
            done = copy_ledger(ours, theirs)
        if shared is not None:
            remember(Path(target), places.model_copy(update={"artifacts": shared}))
        return done


def copy_ledger(source: LedgerBase, target: LedgerBase) -> tuple[int, int]:
    """Copy all records into an empty ledger, or one that holds the beginning of the same; return how many were added to how many.

    Raises:
        StudyError: the target holds something else, or somebody writes to it.

    """
    with target.alone():  # two copies at once would add everything twice
        theirs, ours = source.records(), target.records()
        if contents(theirs[: len(ours)]) != contents(ours):
            what = f"the target holds {len(ours)} records that are not the beginning of the source's"
            raise StudyError(what, try_="copy into a new folder, or into a study of another name (URL#name)")
        target.add_all(sections(theirs[len(ours) :]))
    return len(theirs) - len(ours), len(ours)


def _name(ledger: LedgerBase, place: str) -> str:
    """Return the study's own name, for a URL that has none."""
    spec = ledger.document("spec")
    name = json.loads(spec).get("name") if spec is not None else None
    return str(name or Path(place).name.removesuffix(".study"))


def _shown(place: str) -> str:
    if not is_url(place):
        return place
    address = Address.of(place)
    return f"{address.shown}#{address.study}"
