"""Where a study's ledger and artefacts lie when not in its folder: a small file in the folder remembers, without any password.

``BAKEOFF_LEDGER`` and ``BAKEOFF_ARTIFACTS`` say it for new studies; the first also lends its password to a folder that remembers the
same database.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError

from bakeoff.schema.base import Record
from bakeoff.schema.errors import StudyError
from bakeoff.store.addresses import without_password
from bakeoff.store.journal import Record as StoredRecord
from bakeoff.store.journal import digest
from bakeoff.store.ledger import JOURNAL, SQLITE, Ledger
from bakeoff.store.ledger_base import LedgerBase
from bakeoff.store.postgres import PostgresLedger
from bakeoff.store.postgres_link import SCHEMES, Address

PLACES = "places.json"
LEDGER_VARIABLE, ARTIFACTS_VARIABLE = "BAKEOFF_LEDGER", "BAKEOFF_ARTIFACTS"
_VERSION = 1


class Places(Record):
    """Where ledger and artefacts are; None: in the study folder."""

    version: int = _VERSION
    ledger: str | None = Field(None, description="URL of the ledger's database, without password.")
    study: str | None = Field(None, description="The study's name in that database.")
    artifacts: str | None = Field(
        None, description="URL below which artefacts and frozen data are shared, without password."
    )


def is_url(place: str) -> bool:
    """Whether a place for a ledger is a database, not a folder."""
    return place.startswith(SCHEMES)


def begun(directory: Path) -> bool:
    """Whether a study has a ledger, in its folder or elsewhere."""
    return (directory / JOURNAL).exists() or remembered(directory).ledger is not None


def remembered(directory: Path) -> Places:
    """Return what a study folder remembers.

    Raises:
        StudyError: the file is malformed, or from a newer version.

    """
    path = directory / PLACES
    try:
        found = Places.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Places()
    except (OSError, ValidationError) as error:
        what = f"{PLACES} cannot be read"
        raise StudyError(what, where=str(directory), try_="delete it and say --ledger and --artifacts again") from error
    if found.version > _VERSION:
        what = "the study folder was written by a newer version of Bakeoff"
        raise StudyError(what, where=str(path), try_="install the newer version")
    return found


def settle(directory: Path, ledger: str | None, artifacts: str | None, name: str) -> Places:
    """Return where a run is to keep ledger and artefacts; whoever could open them remembers it in the folder.

    Args:
        directory: the study folder.
        ledger: URL asked for; None: as remembered, for a new study as ``BAKEOFF_LEDGER`` says.
        artifacts: the same for artefacts.
        name: the study's name in the database where the URL has none.

    Raises:
        StudyError: the folder has another ledger.

    """
    before = remembered(directory)
    if not begun(directory):
        ledger = ledger or os.environ.get(LEDGER_VARIABLE) or None
        artifacts = artifacts or os.environ.get(ARTIFACTS_VARIABLE) or None
    wanted = before
    if ledger is not None:
        wanted = wanted.model_copy(update=_named(ledger, name))
        _check_same(directory, before, wanted, ledger)
    if artifacts is not None:
        wanted = wanted.model_copy(update={"artifacts": without_password(artifacts)})
    return wanted


def remember(directory: Path, places: Places) -> None:
    """Write down in a study folder where the rest of it is."""
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{PLACES}.partial"
    partial.write_text(places.model_dump_json(indent=1, exclude_none=True), encoding="utf-8")
    partial.replace(directory / PLACES)


def open_ledger(
    place: Path | str, *, create: bool = False, study: str = "", url: str | None = None, places: Places | None = None
) -> LedgerBase:
    """Open a ledger by URL, or that of a study folder wherever it is.

    Args:
        place: a study folder, or ``postgresql://user@host/database#study``.
        create: start one where there is none.
        study: name in the database where a URL has none.
        url: the folder's URL with its password, where the user said it.
        places: where the folder's ledger is; default: as the folder remembers.

    Raises:
        StudyError: no ledger is there, or it cannot be opened.

    """
    if isinstance(place, str) and is_url(place):
        address = Address.of(place)
        return PostgresLedger.open(address.url, address.study or study, create=create)
    found = places or remembered(Path(place))
    if found.ledger is None:
        return Ledger.open(place, create)
    url = with_password(found.ledger, url, os.environ.get(LEDGER_VARIABLE))
    return PostgresLedger.open(Address.of(url).url, found.study or study, create=create)


def with_password(shown: str, *known: str | None) -> str:
    """Return the first known URL that is the same without its password, or the URL itself."""
    return next((url for url in known if url and _shown(url) == shown), shown)


def _shown(url: str) -> str:
    return Address.of(url).shown if is_url(url) else without_password(url)


def contents(records: tuple[StoredRecord, ...]) -> list[bytes]:
    """Return a digest of what every record says, whatever its number."""
    return [digest(0, record.head, record.text, record.blob) for record in records]


def _named(ledger: str, name: str) -> dict[str, str]:
    address = Address.of(ledger)
    return {"ledger": address.shown, "study": address.study or name}


def _check_same(directory: Path, before: Places, wanted: Places, url: str) -> None:
    """Refuse to give a study a second ledger, unless the second holds all of the first.

    Raises:
        StudyError: it would leave rows behind.

    """
    if before.ledger is not None:
        if (before.ledger, before.study) != (wanted.ledger, wanted.study):
            what = f"this study's ledger is study '{before.study}' of {before.ledger}"
            raise StudyError(what, where=str(directory), got=wanted.ledger, try_="another folder with --out")
        return
    if not ((directory / JOURNAL).exists() or (directory / SQLITE).exists()):
        return
    with (
        Ledger.open(directory) as ours,
        PostgresLedger.open(Address.of(url).url, str(wanted.study), create=True) as theirs,
    ):
        held = ours.records()
        if contents(held) != contents(theirs.records()[: len(held)]):
            what = "this study folder has a ledger of its own, which the database does not hold"
            raise StudyError(
                what,
                where=str(directory),
                try_=f"bakeoff ledger {directory} --to '{wanted.ledger}#{wanted.study}' copies it",
            )
