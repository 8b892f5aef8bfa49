"""The planner on a ledger: tuning, proof, stopping rules, money and time."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff.schema.errors import StudyError
from bakeoff.schema.trial import Fidelity, Trial
from bakeoff.search import ask
from bakeoff.search.explore import explore
from bakeoff.search.race import Race
from bakeoff.search.recorded import rehearsals, table_of
from bakeoff.search.scene import scene_of
from bakeoff.search.seen import Seen
from tests.search.test_ask import ALL, ENCODER, LINEAR, spec
from tests.search.worlds import Stack, World

CHARS = Stack(
    "linear.char.none.native", 0.85, simplicity=2,
    params=(("format", "tfidf-linear"), ("units", "char"), ("ngrams", [1, 3]), ("C", 4.0)),
)  # fmt: skip
"""The real family's own setting, which has a space to be tuned in."""
TUNED = {
    "search": {"tuner": "random", "trials": 3}, "preset": "rigorous", "decision": {"indifference": {"quality": 0.001}},
}  # fmt: skip


def finished(*stacks: Stack, **extra: object) -> World:
    world = World(spec(**extra), stacks or ALL)
    world.run()
    return world


def tuned(world: World) -> list[str]:
    return [trial.candidate.id for trial in world.trials if trial.candidate.variant.base is not None]


def test_survivors_are_tuned_and_no_more_often_than_asked() -> None:
    world = finished(CHARS, **TUNED)
    names = {name.split(".")[1] for name in tuned(world)}
    assert 1 <= len(names) <= 3
    assert all(name.startswith("char-") for name in names)


def test_a_tuned_setting_is_probed_before_it_is_trained() -> None:
    world = finished(CHARS, **TUNED)
    assert tuned(world)
    for name in set(tuned(world)):
        purposes = [trial.purpose for trial in world.trials if trial.candidate.id == name]
        assert purposes[0] == "probe"


def test_no_trial_is_asked_for_twice_with_tuning() -> None:
    world = finished(CHARS, **TUNED)
    asked = [trial.model_dump_json() for trial in world.trials]
    assert len(asked) == len(set(asked))


def test_tuning_can_be_turned_off() -> None:
    assert not tuned(finished(LINEAR, ENCODER))


def test_who_is_clearly_worse_in_full_is_out_by_proof_and_the_rest_by_price() -> None:
    poor = Stack("embedding_head.poor.none.native", 0.70, per_1000=0.01)
    world = finished(LINEAR, ENCODER, poor)
    out = {item.candidate: item for item in ask(world.spec, world.evidence()).eliminations}
    assert "proven" in out[poor.name].reason.en or "not worth its price" in out[poor.name].reason.en
    for item in out.values():
        assert item.reason.zh
        assert item.p_best is None or 0.0 <= item.p_best <= 1.0


def test_the_rule_that_stopped_the_looking_is_told_in_both_languages() -> None:
    world = finished(LINEAR, ENCODER)
    rule = ask(world.spec, world.evidence(), ()).stop_rule
    told = ask(world.spec, world.evidence(), ask(world.spec, world.evidence()).finalists[:1]).stop_rule
    said = rule or told
    assert said is not None
    assert "%" in said.en
    assert "%" in said.zh


def test_money_stops_the_looking_where_answers_have_a_price() -> None:
    """The same ledger, after two looks: with free seconds there is more to look at, with dear ones there is not, and money is why."""
    many = [Stack(f"linear.v{n}.none.native", 0.8 + 0.005 * (5 * n % 12), params=(("C", n),)) for n in range(12)]
    world = World(spec(value={"per_correct": 0.001}, traffic={"volume": "10/day"}), many)
    while sum(trial.purpose == "rung" for trial in world.trials) < 2:
        for trial in ask(world.spec, world.evidence()).trials:
            world.tell(trial)
    free, dear = (Race(world.spec, world.evidence(), Seen(world.evidence()), price) for price in (0.0, 1e9))
    assert explore(free)
    for trial in explore(dear):  # the leader is completed whatever it costs
        world.tell(trial)
    dear = Race(world.spec, world.evidence(), Seen(world.evidence()), 1e9)
    assert explore(dear) == []
    assert dear.stop is not None
    assert "costs more than it is expected to gain" in dear.stop.en


def test_looking_stays_inside_its_share_of_the_planned_time() -> None:
    world = finished(LINEAR, ENCODER, budget={"time": "3m"})
    spent = Race(world.spec, world.evidence(), Seen(world.evidence())).spent
    assert spent <= 0.6 * 180 + 30


def test_the_simplest_family_is_complete_even_when_a_dear_one_took_the_time() -> None:
    """What happened in a real run: one dear training, and the cheap arm went to the final on a twentieth of the rows."""
    dear = Stack("encoder.large.none.pytorch", 0.83, per_1000=300.0, latency=0.01, simplicity=8)
    world = finished(LINEAR, dear, budget={"time": "5m"})
    last = [
        trial.fidelity.fraction for trial in world.trials
        if trial.candidate.id == LINEAR.name and trial.fidelity.split == "confirm"
    ]  # fmt: skip
    assert set(last) == {1.0}


def test_a_dear_first_look_has_to_be_worth_it() -> None:
    """The cheap family is looked at before a family whose cheapest look costs more than a tenth of the planned time."""
    dear = Stack("encoder.large.none.pytorch", 0.83, per_1000=300.0, latency=0.01, simplicity=8)
    world = finished(LINEAR, dear, budget={"time": "5m"})
    order = [trial.candidate.id for trial in world.trials if trial.purpose == "rung"]
    assert order[0] == LINEAR.name


def test_an_arm_that_may_be_trained_on_part_of_the_rows_is_complete_on_that_part() -> None:
    dear = Stack("encoder.large.none.pytorch", 0.95, per_1000=60.0, latency=0.01)
    world = finished(LINEAR, dear, budget={"time": "6m"})
    scene = scene_of(Race(world.spec, world.evidence(), Seen(world.evidence())))
    place = scene.arms.index("encoder.large")
    assert scene.shares[place][-1] < 1.0
    assert max(look.share for look in scene.seen(place)) == pytest.approx(1.0)


def test_a_study_run_again_with_less_time_goes_on() -> None:
    """An arm that was trained on more rows than it now may be is complete, and nothing of it is asked for again."""
    dear = Stack("encoder.large.none.pytorch", 0.95, per_1000=60.0, latency=0.01)
    long = finished(LINEAR, dear, budget={"time": "3h"})
    short = World(spec(budget={"time": "6m"}), (LINEAR, dear), rows=list(long.rows))
    short.run()
    assert not any(trial.purpose == "rung" and trial.candidate.id == dear.name for trial in short.trials)


def test_other_seeds_of_the_final_do_not_reopen_the_looking() -> None:
    world = finished(LINEAR, ENCODER)
    purposes = [trial.purpose for trial in world.trials]
    assert "rung" not in purposes[purposes.index("final") :]


# -------------------------------------------------------------------------------------------------- a ledger as a table


def recorded() -> World:
    """Five arms judged on a part and in full."""
    stacks = [Stack(f"linear.v{n}.none.native", 0.8 + 0.01 * n, per_1000=0.01) for n in range(5)]
    world = World(spec(), stacks)
    for stack in stacks:
        for fraction in (0.11, 1.0):
            fidelity = Fidelity(fraction=fraction, seed=0, split="select")
            world.tell(Trial(candidate=stack.candidate(), purpose="rung", fidelity=fidelity))
    return world


def test_a_ledger_becomes_a_table_of_what_was_judged_in_full() -> None:
    world = recorded()
    table = table_of(world.evidence())
    assert {arm.id for arm in table.arms} <= {f"linear.v{n}" for n in range(5)}
    best = max(range(len(table.arms)), key=lambda place: float((table.predicted[place, -1, 0] == table.actual).mean()))
    right = [np.mean(table.predicted[place, -1, 0] == table.actual) for place in range(len(table.arms))]
    assert right[best] == pytest.approx(0.8 + 0.01 * int(table.arms[best].id[-1]), abs=0.01)


def test_replaying_a_ledger_says_what_every_preset_would_have_spent() -> None:
    found = rehearsals(recorded().evidence(), 6)
    assert [one.preset for one in found.presets] == ["quick", "standard", "rigorous"]
    for one in found.presets:
        assert 0.0 <= one.within <= 1.0
        assert sum(one.chosen.values()) == 6


def test_too_small_a_ledger_is_refused() -> None:
    with pytest.raises(StudyError, match="too little to replay"):
        table_of(World(spec(), (LINEAR,)).evidence())
