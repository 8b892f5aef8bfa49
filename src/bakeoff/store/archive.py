"""A study's memory: the ledger, its documents, and the places of artefacts and frozen data, read and written by name."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from bakeoff.schema.base import Words, canonical
from bakeoff.schema.candidate import Candidate, Unavailable
from bakeoff.schema.costs import CostBook
from bakeoff.schema.errors import StudyError
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import Told
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Elimination, Proposal
from bakeoff.store.artifacts import ArtifactStore
from bakeoff.store.evidence import StudyEvidence
from bakeoff.store.objects import Objects
from bakeoff.store.places import ARTIFACTS_VARIABLE, Places, open_ledger, remember, remembered, settle, with_password
from bakeoff.store.shared import SharedArtifacts, fetch_data, share_data
from bakeoff.store.study_lock import study_lock

ARTIFACTS = "artifacts"
COSTS = "costs.json"
"""The machine's cost book as it was when the study began: what is asked for must not change while other studies run."""
_CANDIDATES = TypeAdapter(tuple[Candidate, ...])
_UNAVAILABLE = TypeAdapter(tuple[Unavailable, ...])
_ELIMINATIONS = TypeAdapter(tuple[Elimination, ...])
_WARM = TypeAdapter(dict[str, tuple[Told, ...]])


class Archive:
    """An open study folder.

    Args:
        directory: the folder; it must hold a ledger, or remember where it is, unless ``create``.
        create: start a new ledger where there is none.
        places: where ledger and artefacts are; default: as the folder remembers.
        ledger: URL of the ledger that the folder remembers, with the password.
        artifacts: URL of the shared artefacts that the folder remembers, with the password.

    Raises:
        StudyError: no study is there, or it cannot be read.

    """

    def __init__(
        self, directory: Path, *, create: bool = False, places: Places | None = None, ledger: str | None = None,
        artifacts: str | None = None,
    ) -> None:  # fmt: skip
        self.directory = directory.absolute()
        self.places = places or remembered(directory)
        self.ledger = open_ledger(directory, create=create, url=ledger, places=self.places)
        self._artifacts_url = artifacts
        self._costs: CostBook | None = None

    @classmethod
    @contextmanager
    def writing(
        cls, directory: Path, *, ledger: str | None = None, artifacts: str | None = None, name: str = "study"
    ) -> Iterator[Archive]:
        """Open for writing, alone: a second run on the same folder, or on the same study elsewhere, is refused while this one lives.

        Args:
            directory: the study folder, made where there is none.
            ledger: where the ledger is to be (``postgresql://…``); None: as the folder remembers, else in the folder.
            artifacts: where artefacts and frozen data are to be shared; None: as the folder remembers, else nowhere.
            name: the study's name in a database, where the URL has none.

        """
        directory.mkdir(parents=True, exist_ok=True)
        with study_lock(directory):
            places = settle(directory, ledger, artifacts, name)
            archive = cls(directory, create=True, places=places, ledger=ledger, artifacts=artifacts)
            try:
                with archive.ledger.alone():
                    archive.remember()
                    yield archive
            finally:
                archive.ledger.close()

    def remember(self) -> None:
        """Write down in the folder where the rest of the study is, if it can be opened: a slip of the pen is not remembered."""
        if self.places != remembered(self.directory):
            if self.objects is not None:
                self.objects.names("artifacts")
            remember(self.directory, self.places)

    @cached_property
    def objects(self) -> Objects | None:
        """Where artefacts and frozen data are shared; None when they are not."""
        shared = self.places.artifacts
        known = self._artifacts_url, os.environ.get(ARTIFACTS_VARIABLE)
        return Objects(with_password(shared, *known)) if shared is not None else None

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """The study's artefacts; where they are shared, the folder holds those that were made or needed here."""
        here = self.directory / ARTIFACTS
        return SharedArtifacts(here, self.objects) if self.objects is not None else ArtifactStore(here)

    @property
    def data_directory(self) -> Path:
        """Where frozen data are kept."""
        return self.directory / "data"

    def share_data(self, fingerprint: str) -> None:
        """Let other machines have the frozen data, where artefacts are shared."""
        if self.objects is not None:
            share_data(self.objects, self.data_directory, fingerprint)

    def fetch_data(self, fingerprint: str) -> None:
        """Fetch the frozen data, if they are not here but shared."""
        if self.objects is not None:
            fetch_data(self.objects, self.data_directory, fingerprint)

    def begin(
        self, spec: Spec, profile: Profile, candidates: Sequence[Candidate], unavailable: Sequence[Unavailable]
    ) -> None:
        """Note what is to be studied; the ledger's earlier rows stay and are used where their keys still hold."""
        if self.ledger.document("spec") not in {
            None,
            canonical(spec),
        }:  # what an earlier specification concluded is not ours
            self._put("eliminations", "[]")
            self._put("finalists", "[]")
            self._put("stop_rule", canonical(Words(zh="", en="")))
        if self.ledger.document("candidates") is not None:
            candidates = _with_made(
                candidates, self._candidates(), same=self.ledger.document("spec") == canonical(spec)
            )
        self._put("spec", canonical(spec))
        self._put("profile", canonical(profile))
        self._put("candidates", _CANDIDATES.dump_json(tuple(candidates)).decode())
        self._put("unavailable", _UNAVAILABLE.dump_json(tuple(unavailable)).decode())

    def told(self, proposal: Proposal) -> None:
        """Note what the search concluded, and the candidates it made up (ensembles with their members, tuned settings)."""
        self._put("eliminations", _ELIMINATIONS.dump_json(proposal.eliminations).decode())
        self._put("finalists", canonical(list(proposal.finalists)))
        if proposal.stop_rule is not None:
            self.stopped(proposal.stop_rule)
        made = {trial.candidate.id: trial.candidate for trial in proposal.trials if made_up(trial.candidate)}
        if made:
            known = self._candidates()
            merged = tuple(made.pop(candidate.id, candidate) for candidate in known) + tuple(made.values())
            self._put("candidates", _CANDIDATES.dump_json(merged).decode())

    def stopped(self, rule: Words) -> None:
        """Note which rule ended the run."""
        self._put("stop_rule", canonical(rule))

    def spec(self) -> Spec:
        """Return the specification the study was last run with."""
        return Spec.model_validate_json(self._need("spec"))

    def evidence(self) -> StudyEvidence:
        """Return everything known for the current data."""
        profile = Profile.model_validate_json(self._need("profile"))
        stop = Words.model_validate_json(self.ledger.document("stop_rule") or '{"zh": "", "en": ""}')
        return StudyEvidence(
            spec=self.spec(),
            profile=profile,
            candidates=self._candidates(),
            unavailable=_UNAVAILABLE.validate_json(self._need("unavailable")),
            results=self.ledger.evidence(data=profile.data),
            environments=self.ledger.environments(),
            eliminations=_ELIMINATIONS.validate_json(self.ledger.document("eliminations") or "[]"),
            finalists=tuple(json.loads(self.ledger.document("finalists") or "[]")),
            stop_rule=(stop.zh, stop.en),
            costs=self.costs(),
            warm=_WARM.validate_json(self.ledger.document("warm") or "{}"),
        )

    def has_warm(self) -> bool:
        """Whether it was noted before."""
        return self.ledger.document("warm") is not None

    def warm(self, known: Mapping[str, tuple[Told, ...]]) -> None:
        """Note what earlier studies know about settings, by arm."""
        self._put("warm", _WARM.dump_json(dict(known)).decode())

    def costs(self) -> CostBook | None:
        """Return the cost book the study began with, wherever it began; None when it has none that can be read."""
        if self._costs is None:
            with contextlib.suppress(OSError, ValueError):  # pydantic's ValidationError is a ValueError
                text = self.ledger.document("costs") or (self.directory / COSTS).read_bytes()
                self._costs = CostBook.model_validate_json(text)
        return self._costs

    def begin_costs(self, book: CostBook) -> None:
        """Keep the cost book a study begins with: in its folder, or in its ledger when that is for several machines."""
        if self.places.ledger is None:
            self.write(COSTS, book.model_dump_json())
        else:
            self._put("costs", book.model_dump_json())

    def trials(self) -> int:
        """Return how many trials the ledger holds for the current data: distinct (candidate, purpose, fidelity, round)."""
        rows = [
            row.result for row in self.ledger.evidence(data=Profile.model_validate_json(self._need("profile")).data)
        ]
        return len({(r.candidate, r.purpose, r.fidelity.model_dump_json(), r.round) for r in rows})

    def write(self, name: str, text: str) -> Path:
        """Write a file of the study folder atomically and return its path."""
        path = self.directory / name
        partial = path.with_name(f".{name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
        return path

    def _candidates(self) -> tuple[Candidate, ...]:
        return _CANDIDATES.validate_json(self._need("candidates"))

    def _put(self, name: str, text: str) -> None:
        if self.ledger.document(name) != text:  # a second run of a finished study writes nothing
            self.ledger.put_document(name, text)

    def _need(self, name: str) -> str:
        text = self.ledger.document(name)
        if text is None:
            what = "the study was never begun: nothing is in its ledger"
            raise StudyError(what, where=str(self.directory), try_="bakeoff run SPEC --out STUDY")
        return text


def made_up(candidate: Candidate) -> bool:
    """Whether the search made a candidate up: an ensemble with its members, or a tuned setting."""
    return bool(candidate.members) or candidate.variant.base is not None


def _with_made(listed: Sequence[Candidate], known: Sequence[Candidate], *, same: bool) -> tuple[Candidate, ...]:
    """Return the catalogue's candidates with those the search made up before, as far as what they were made of still takes part.

    Under a changed specification (not ``same``) ensembles are put together anew; tuned settings and what was learnt of them stay.
    """
    made = {candidate.id: candidate for candidate in known if made_up(candidate) and (same or not candidate.members)}
    arms = {candidate.arm for candidate in listed}
    kept = [
        one for one in made.values()
        if one.variant.base is not None and f"{one.family}.{one.variant.base}" in arms
    ]  # fmt: skip
    return (*[made.get(candidate.id, candidate) for candidate in listed], *kept)
