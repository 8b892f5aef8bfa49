"""One study: a specification, its data and everything learned for it. The walk, readable aloud."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff import experience
from bakeoff.data.freeze import Frozen
from bakeoff.data.keep import freeze
from bakeoff.decision import decide
from bakeoff.economics import PriceBook, load_book
from bakeoff.schema.base import Language, Words, canonical
from bakeoff.schema.candidate import Candidate, Unavailable
from bakeoff.schema.decision import Decision
from bakeoff.schema.errors import SpecError, StudyError, UserError
from bakeoff.schema.loading import load_spec, override
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Proposal
from bakeoff.search import Plan, ask, compose, plan, still_wanted
from bakeoff.search.told import warm_start
from bakeoff.store.archive import Archive
from bakeoff.store.evidence import StudyEvidence
from bakeoff.store.places import begun as has_begun

if TYPE_CHECKING:
    from bakeoff.delivery.sealing import Seal
    from bakeoff.delivery.shards import Sharding
    from bakeoff.evaluation.events import Event
    from bakeoff.evaluation.launchers.base import Launcher
    from bakeoff.report import Format
    from bakeoff.schema.contract import Manifest

PRICES = "price-book.yaml"
OnEvent = Callable[["Event"], None]
OnProposal = Callable[[Proposal], None]

_OUT_OF_TIME = Words(zh="到达时间上限", en="the time limit was reached")
_NO_PROGRESS = Words(
    zh="有试验既没有结果也没有失败原因，已停止（属于 Bakeoff 的缺陷，请报告）",
    en="a trial left neither a result nor a reason: stopped (a fault of Bakeoff, please report it)",
)
_OUT_OF_TRIALS = Words(zh="到达试验次数上限", en="the limit on the number of trials was reached")


class Study:
    """A study folder: opened from a specification (new or resumed) or from the folder itself (read only).

    Args:
        spec: the specification, with command-line overrides applied.
        directory: the study folder.
        base: folder the specification's data path is relative to; None when opened from the folder.
        ledger: where a run keeps the ledger (``postgresql://…``); None: as the folder remembers, else in the folder.
        artifacts: where a run shares artefacts and frozen data; None: as the folder remembers, else nowhere.

    """

    def __init__(
        self, spec: Spec, directory: Path, base: Path | None, *, ledger: str | None = None, artifacts: str | None = None
    ) -> None:
        self.spec, self.directory, self.base = spec, directory, base
        self.ledger, self.artifacts = ledger, artifacts

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        out: str | Path | None = None,
        overrides: Mapping[str, str] | None = None,
        ledger: str | None = None,
        artifacts: str | None = None,
    ) -> Study:
        """Open a study folder, or the study of a specification file.

        Args:
            path: a specification (YAML) or a study folder.
            out: study folder of a specification; default ``NAME.study`` beside it.
            overrides: dotted fields of the specification to change, as written on the command line.
            ledger: URL of a database for the ledger of a specification's study.
            artifacts: URL at which a specification's study shares artefacts and frozen data.

        Raises:
            SpecError: the specification is wrong; every problem is listed.
            StudyError: the folder is no study.

        """
        path = Path(path)
        if path.is_dir():
            spec = Archive(path).spec()
            return cls(override(spec, overrides) if overrides else spec, path, None)
        spec = load_spec(path, overrides)
        directory = Path(out) if out else path.parent / f"{spec.name}.study"
        return cls(spec, directory, path.parent, ledger=ledger, artifacts=artifacts)

    def plan(self) -> Plan:
        """Return what a run would do, with predicted seconds; runs nothing and writes nothing.

        What an earlier run of this study left in its ledger is taken into account, as far as the data are the same.
        """
        if not self._begun:
            self._earlier()
        profile = self.frozen().profile
        return plan(self._planned(profile, *compose(self.spec, profile)), second_price=self._second_price())

    def _planned(
        self, profile: Profile, candidates: tuple[Candidate, ...], unavailable: tuple[Unavailable, ...]
    ) -> StudyEvidence:
        """Return what a run would start from."""
        found = StudyEvidence(self.spec, profile, candidates, unavailable, (), costs=experience.known(self.spec))
        if not self._begun:
            return found
        archive = Archive(self.directory)
        if archive.ledger.document("spec") == canonical(self.spec):
            had = archive.evidence()
            if had.profile.data == profile.data and {c.id for c in candidates} <= {c.id for c in had.candidates}:
                return had  # with the candidates the search made up
        rows = archive.ledger.evidence(data=profile.data)
        return replace(found, results=rows, costs=archive.costs() or found.costs)

    def frozen(self, *, noise: bool = False) -> Frozen:
        """Read, clean, split and profile the data; keeps nothing.

        Args:
            noise: also measure what takes seconds: the label noise, and what a careless split would read.

        """
        self._check_prices()
        return freeze(self.spec, self._base(), None, noise=noise)

    def run(
        self, *, workers: int | None = None, on_event: OnEvent | None = None, on_proposal: OnProposal | None = None,
        launcher: Launcher | None = None,
    ) -> Decision:  # fmt: skip
        """Freeze the data, then ask, evaluate and tell until nothing more is worth measuring; then decide.

        A run that was stopped or killed goes on where it was; a finished one only decides again.

        Args:
            workers: trainings at once; timing always runs alone. None: one, on a cluster as many as it has nodes.
            on_event: told of everything that happens, for a live view.
            on_proposal: told what the search concluded and asks for next, each time it does.
            launcher: where trials run; None: on this machine.

        Raises:
            StudyError: another run holds this study, or the folder cannot be written.
            DataError: the data cannot be decided upon.

        """
        from bakeoff.evaluation.executor import Executor

        base, begun = self._base(), time.monotonic()
        if not self._begun:
            self._earlier()
        places = {"ledger": self.ledger, "artifacts": self.artifacts}
        with Archive.writing(self.directory, **places, name=self.spec.name) as archive:
            frozen = freeze(self.spec, base, archive.data_directory)
            archive.share_data(frozen.fingerprint)
            self._keep_prices()
            self._check_prices()
            archive.begin(self.spec, frozen.profile, *compose(self.spec, frozen.profile))
            experience.begin(archive, self.spec)
            self._warm(archive)
            before = len(archive.evidence().results)
            with Executor(
                archive, frozen, self.spec, workers=workers, on_event=on_event, launcher=launcher
            ) as executor:
                self._measure(archive, executor, on_proposal)
            decision = self._conclude(archive)
            if launcher is None:  # other machines teach nothing about this one
                alone = time.monotonic() - begun if workers in {None, 1} else None
                experience.learn(archive, self.spec, before, alone)
            return decision

    def _measure(self, archive: Archive, executor: Any, tell: OnProposal | None) -> None:  # noqa: ANN401 - imported lazily above
        """Ask, evaluate, tell: until the search is content or a budget ends it."""
        deadline = time.monotonic() + 1.5 * self.spec.budget.time
        price = self._second_price()
        shortlist: tuple[str, ...] = ()
        before: Proposal | None = None
        while True:
            proposal = ask(self.spec, archive.evidence(), shortlist, second_price=price)
            archive.told(proposal)
            if tell is not None:
                tell(proposal)
            if not proposal.trials:
                found = self._shortlist(archive)
                if set(found) <= set(shortlist):
                    return
                shortlist = tuple(dict.fromkeys([*shortlist, *found]))
                continue
            room = self.spec.budget.trials - archive.trials()
            if room <= 0 or time.monotonic() > deadline:
                archive.stopped(_OUT_OF_TRIALS if room <= 0 else _OUT_OF_TIME)
                return
            if proposal == before:  # a trial that the deadline ended leaves nothing either, so the time is asked first
                archive.stopped(_NO_PROGRESS)
                return
            before = proposal
            executor.run(proposal.trials[:room], deadline=deadline)

    @property
    def _begun(self) -> bool:
        return has_begun(self.directory)

    def _warm(self, archive: Archive) -> None:
        """Keep what the specification's earlier studies know about settings: what is asked for may depend on nothing outside."""
        if self.spec.search.warm_start and not archive.has_warm():
            evidence = archive.evidence()
            archive.warm(warm_start(self._earlier(), self.spec, evidence.profile, evidence.candidates))

    def _earlier(self) -> list[StudyEvidence]:
        """Read the earlier studies the specification names.

        Raises:
            SpecError: naming every folder that holds no study.

        """
        found, problems = [], []
        for number, name in enumerate(self.spec.search.warm_start):
            try:
                found.append(Archive(self._base() / name).evidence())
            except StudyError as error:
                problems.append(
                    UserError(
                        str(error), where=f"search.warm_start.{number}", got=name, try_="the folder of a finished run"
                    )
                )
        if problems:
            raise SpecError(problems)
        return found

    def _shortlist(self, archive: Archive) -> tuple[str, ...]:
        """Whoever might be shipped: the recommended and the runner-up of a decision on what is known so far."""
        decision = self._decided(archive)
        chosen = [decision.recommended.id if decision.recommended else None, decision.runner_up]
        return tuple(name for name in chosen if name is not None)

    def decide(self) -> Decision:
        """Decide from the ledger alone, under this study's specification (with its overrides); runs nothing."""
        return self._decided(Archive(self.directory))

    def _decided(self, archive: Archive) -> Decision:
        evidence, stored = archive.evidence(), archive.spec()
        if self.spec == stored:
            return experience.told(decide(evidence, book=self._book()), evidence)
        self._check_prices()
        _only_premises(self.spec, stored)
        wanted = replace(evidence, candidates=still_wanted(evidence.candidates, self.spec))
        return experience.told(decide(wanted, self.spec, book=self._book()), evidence)

    def _book(self) -> PriceBook:
        """Return the price book: ours, overlaid by the specification's, of which the study folder keeps a copy."""
        kept = self.directory / PRICES
        return (
            load_book(PRICES, self.directory)
            if kept.exists()
            else load_book(self.spec.costs.price_book, self.base or ".")
        )

    def _second_price(self) -> float:
        """Return the money a second of measuring costs."""
        book = self._book()
        price = book.machine(self.spec.costs.hardware[0]).price
        return price.typical * book.rate(price.currency, self.spec.value.currency) / 3600.0

    def _check_prices(self) -> None:
        """Find out before anything runs that a machine has no price."""
        book = self._book()
        for name in self.spec.costs.hardware:
            book.machine(name)

    def _keep_prices(self) -> None:
        """Copy the specification's price book into the study, so that the folder can be moved and decided again."""
        if self.spec.costs.price_book is None:
            (self.directory / PRICES).unlink(missing_ok=True)
            return
        load_book(self.spec.costs.price_book, self._base())
        shutil.copyfile(self._base() / self.spec.costs.price_book, self.directory / PRICES)

    def _conclude(self, archive: Archive) -> Decision:
        decision = self._decided(archive)
        from bakeoff.report import render

        language = decision.profile.language
        archive.write("decision.json", render(decision, language, "json"))
        archive.write("report.html", render(decision, language, "html"))
        archive.write("report.md", render(decision, language, "md"))
        return decision

    def report(self, language: Language | None = None, form: Format = "html") -> str:
        """Return the report: ``html`` (both languages, ``language`` first), ``md`` or ``json``."""
        from bakeoff.report import render

        decision = self.decide()
        return render(decision, language or decision.profile.language, form)

    def ship(
        self, out: str | Path, candidate: str | None = None, *, rows: bool = True, seal: Seal | None = None,
        sharding: Sharding | None = None, target: str | None = None, whole: bool = False,
    ) -> Manifest:  # fmt: skip
        """Write the bundle of the recommended candidate (or of ``candidate``) to the folder ``out``.

        It is signed and encrypted by ``seal``; its graph is split as ``sharding`` says, or converted to the format ``target``;
        ``whole`` adds the model in one ONNX file, with what comes before and after it.

        Raises:
            StudyError: nothing was decided, or the candidate was never built to the end.

        """
        from bakeoff.delivery.shipping import ship_study
        from bakeoff.report import render

        decision = self.decide()
        page = render(decision, decision.profile.language, "html")
        return ship_study(
            Archive(self.directory), decision, self.spec, Path(out), candidate, rows=rows, page=page, seal=seal,
            sharding=sharding, target=target, whole=whole,
        )  # fmt: skip

    def _base(self) -> Path:
        if self.base is None:
            what = "a study folder does not say where its data file is"
            raise StudyError(
                what, where=str(self.directory), try_="run the specification instead: bakeoff run SPEC --out STUDY"
            )
        return self.base


def _only_premises(wanted: Spec, stored: Spec) -> None:
    """Refuse a what-if that other measurements would be needed for.

    Raises:
        SpecError: naming every field that only a new run can answer.

    """
    problems = [
        UserError("only a new run can answer this", where=name, try_="change the specification and run it")
        for name in ("name", "task", "data", "search", "measuring", "preset", "seed")
        if getattr(wanted, name) != getattr(stored, name)
    ]
    if wanted.requirements.quality.metric != stored.requirements.quality.metric:
        problems.append(UserError("only a new run can answer this", where="requirements.quality.metric"))
    if problems:
        raise SpecError(problems)
