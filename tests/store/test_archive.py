"""What the search made up stays in a study: through a resumed run, and through a changed specification as far as it still takes part."""

from __future__ import annotations

from pathlib import Path

from tests.search.test_ask import spec
from tests.search.worlds import Stack, profile

from bakeoff.schema.candidate import Candidate
from bakeoff.schema.trial import Fidelity, Proposal, Trial
from bakeoff.store.archive import Archive

LISTED = Stack("linear.char.none.native", 0.85).candidate()
BLANK = Stack("ensemble.soft-vote.none.composite", 0.85).candidate()
TUNED = LISTED.model_copy(
    update={"variant": LISTED.variant.model_copy(update={"name": "char-0badcafe", "base": "char"})}
)
TOGETHER = BLANK.model_copy(update={"members": (LISTED.id, TUNED.id)})


def told(archive: Archive, candidate: Candidate) -> None:
    fidelity = Fidelity(fraction=1.0, seed=0, split="select")
    archive.told(Proposal(trials=(Trial(candidate=candidate, purpose="rung", fidelity=fidelity),)))


def candidates(folder: Path, listed: tuple[Candidate, ...], **changes: object) -> dict[str, Candidate]:
    with Archive.writing(folder) as archive:
        archive.begin(spec(**changes), profile(), listed, ())
        return {candidate.id: candidate for candidate in archive.evidence().candidates}


def begun(folder: Path) -> None:
    with Archive.writing(folder) as archive:
        archive.begin(spec(), profile(), (LISTED, BLANK), ())
        told(archive, TUNED)
        told(archive, TOGETHER)


def test_the_same_specification_goes_on_with_what_was_made_up(tmp_path: Path) -> None:
    begun(tmp_path / "s")
    found = candidates(tmp_path / "s", (LISTED, BLANK))
    assert set(found) == {LISTED.id, BLANK.id, TUNED.id}
    assert found[BLANK.id].members == TOGETHER.members


def test_a_changed_specification_keeps_tuned_settings_and_puts_ensembles_together_anew(tmp_path: Path) -> None:
    begun(tmp_path / "s")
    found = candidates(tmp_path / "s", (LISTED, BLANK), budget={"time": "40m"})
    assert set(found) == {LISTED.id, BLANK.id, TUNED.id}
    assert found[BLANK.id].members == ()


def test_a_tuned_setting_goes_with_the_setting_it_stands_around(tmp_path: Path) -> None:
    begun(tmp_path / "s")
    assert set(candidates(tmp_path / "s", (BLANK,), budget={"time": "40m"})) == {BLANK.id}


def test_what_earlier_studies_know_is_noted_once(tmp_path: Path) -> None:
    with Archive.writing(tmp_path / "s") as archive:
        archive.begin(spec(), profile(), (LISTED,), ())
        assert not archive.has_warm()
        archive.warm({})
        assert archive.has_warm()
        assert archive.evidence().warm == {}
