"""The planner at work on a recorded table, from the first look to the choice.

The same belief, gains and rules as on a ledger. Left out is what a table cannot show: probes, tuning, ensembles, and the final's own
statistics; what stands in for the latter is the belief with the confirm rows added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bakeoff.search.planner import Look, Option, Rules, State, plan_move, weigh
from bakeoff.search.replay import Replay

ALPHA = 0.05
_ROWS = (250, 1000)
"""Rows judged before all of them, where judging costs more than building."""
_MOST_MOVES = 400
_FINALISTS = 4


@dataclass(frozen=True)
class Verdict:
    """What a search of a table came to.

    Args:
        arm: the one chosen.
        stated: stated probability that it loses at most the zone.
        rule: that stopped the looking.
        moves: looks taken.
        finalists: arms judged on the confirm rows.
        separated: whether it is declared better than every other arm with the wanted confidence.

    """

    arm: int
    stated: float
    rule: str
    moves: int
    finalists: tuple[int, ...] = ()
    separated: bool = False


def rehearse(replay: Replay, rules: Rules) -> Verdict:
    """Search a replay with the planner, judge the finalists on the confirm rows, choose."""
    field, alive = replay.book.field, replay.feasible
    rule, moves = "exhausted", 0
    while True:
        move = plan_move(field, replay.looks, options(replay), rules, alive, replay.select, replay.spent)
        state = move.state
        if move.option is None or moves == _MOST_MOVES:
            rule = move.rule or rule
            break
        moves += 1
        chosen = move.option
        replay.look(chosen.arm, replay.table.fractions.index(chosen.share), chosen.seed, chosen.rows)
    names = finalists(replay, state)
    last = final(replay, names, rules)
    return Verdict(last.leader, last.p_good, rule, moves, names, last.p_best >= rules.confidence)


def options(replay: Replay) -> list[Option]:
    """Return every look that would add something: more training rows, more judged rows, another seed."""
    found: list[Option] = []
    seen: dict[int, list[Look]] = {}
    for look in replay.looks:
        seen.setdefault(look.arm, []).append(look)
    for place in np.flatnonzero(replay.feasible):
        found.extend(_options(replay, int(place), seen.get(int(place), [])))
    return found


def _options(replay: Replay, arm: int, looks: list[Look]) -> Iterator[Option]:
    table = replay.table
    last = len(table.fractions) - 1
    reached = max((look.share for look in looks), default=0.0)
    for level in range(len(table.fractions)) if table.arms[arm].trains else (last,):
        share = table.fractions[level]
        if not replay.trainings(arm, level) or share < reached:
            continue
        had = max((look.rows.size for look in looks if look.share == share), default=0)
        for rows in ladder(replay, arm, level):
            if rows > had:
                yield Option(arm, share, 0, rows, replay.price(arm, level, 0, rows))
    again = len({look.seed for look in looks if look.share >= 1.0})
    if reached >= 1.0 and table.arms[arm].trains and again < len(replay.trainings(arm, last)):
        rows = max(look.rows.size for look in looks if look.share >= 1.0)
        yield Option(arm, 1.0, again, rows, replay.price(arm, last, again, rows))


def ladder(replay: Replay, arm: int, level: int) -> tuple[int, ...]:
    """Rows that may be judged: all at once, or in steps where judging all of them costs more than building."""
    build, every = replay.price(arm, level, 0, 0), replay.price(arm, level, 0, replay.select)
    if every < 2.0 * build + 1e-9 or every < 1.0:
        return (replay.select,)
    return (*[rows for rows in _ROWS if rows < replay.select], replay.select)


def finalists(replay: Replay, state: State) -> tuple[int, ...]:
    """The leader and who was trained and judged in full and may still be better than it by more than the zone, best first."""
    full = {look.arm for look in replay.looks if look.share >= 1.0}
    near = [int(arm) for arm in np.argsort(-state.belief.mean) if int(arm) in full and state.p_better[arm] >= ALPHA]
    return (state.leader, *[arm for arm in near if arm != state.leader][: _FINALISTS - 1])


def final(replay: Replay, names: tuple[int, ...], rules: Rules) -> State:
    """Judge the finalists on the confirm rows as well; return what is believed then, with nobody else in the choice."""
    looks = []
    for look in replay.looks:
        if look.arm in names and look.share >= 1.0:
            more = replay.look(look.arm, len(replay.table.fractions) - 1, look.seed, split="confirm")
            both = np.concatenate([look.rows, more.rows + 10_000_000])
            looks.append(replace(look, rows=both, values=np.concatenate([look.values, more.values])))
        else:
            looks.append(look)
    alive = replay.feasible.copy()
    state = weigh(replay.book.field, looks, rules, alive, replay.select)
    if state.leader in names:
        return state
    only = np.zeros_like(alive)
    only[list(names)] = True
    inner = weigh(replay.book.field, looks, rules, only, replay.select)
    ahead = state.p_better  # probabilities against the believed leader, which is nobody that was judged in full
    return replace(inner, p_good=min(inner.p_good, 1.0 - float(ahead.max(initial=0.0)), state.p_good))
