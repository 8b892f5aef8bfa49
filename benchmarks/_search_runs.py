"""Replays of recorded tables, ours and the peers', in worker processes: what each spent and how good its choice truly was."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.errors import DataError
from bakeoff.search.ask import ask
from bakeoff.search.planner import Look, Rules, plan_move
from bakeoff.search.rehearsal import options, rehearse
from bakeoff.search.replay import Book, Replay, regret
from bakeoff.search.table import Arm, Table
from benchmarks._evidence import large
from benchmarks._peers import Peer, Trajectory, asha, capped, exhaustive, halving, random_search, shuffled
from benchmarks._peers_frugal import frugal
from benchmarks._peers_optuna import gaussian, hyperband, tpe

ROWS = 2000
"""Select and confirm rows, at most."""
PEERS: dict[str, Peer] = {
    "exhaustive": exhaustive, "exhaustive-shuffled": shuffled, "random": random_search, "halving": halving, "asha": asha, "capped": capped,
    "flaml-cfo": frugal, "optuna-tpe": tpe, "optuna-tpe-hyperband": hyperband, "optuna-gp": gaussian,
}  # fmt: skip
SLOW = {"optuna-tpe": 20, "optuna-tpe-hyperband": 20, "optuna-gp": 10}
"""Replays of the peers whose own arithmetic takes seconds; none under a limit."""
REACH = {"optuna-gp": 1.0}
"""Budget of a peer in multiples of what we spent, where exhaustive cost would take it minutes."""
Steps = list[tuple[float, float]]
"""(cost so far as a share of exhaustive, true regret of the incumbent), where the regret changes."""


@dataclass(frozen=True)
class Study:
    """A recorded table, maybe under a latency limit in seconds."""

    path: Path
    limit: float | None = None

    @property
    def name(self) -> str:
        """Name for people."""
        return self.path.stem + ("" if self.limit is None else "@limit")


@dataclass(frozen=True)
class Run:
    """One replay.

    Args:
        study: its name.
        seed: of the replay.
        cost: CPU seconds that we spent, confirm rows included.
        whole: CPU seconds of exhaustive evaluation of what meets the limit.
        everything: CPU seconds of exhaustive evaluation without knowing the limit.
        regret: how much better the truly best feasible arm is, in units of the metric.
        stated: chance we stated of being inside the zone.
        separated: whether we declared the choice better than everything else.
        rule: why we stopped.
        moves: looks we took.
        planner: CPU seconds of our own arithmetic.
        wasted: CPU seconds on arms that break the limit.
        arm: our choice.
        peers: what each peer's incumbent lost, as its spending grew.

    """

    study: str
    seed: int
    cost: float
    whole: float
    everything: float
    regret: float
    stated: float
    separated: bool
    rule: str
    moves: int
    planner: float
    wasted: float
    arm: str
    peers: Mapping[str, Steps]


@dataclass
class Timed(Replay):
    """A replay that measures its own CPU seconds, which a real study spends on the looks themselves.

    Args:
        clock: CPU seconds spent on looks.
        blur: standard deviation of the logarithm of each arm's predicted price over its true one; what is paid is the true one.

    """

    clock: float = 0.0
    blur: float = 0.0
    _paying: bool = False

    def __post_init__(self) -> None:
        """Draw the rows, and how wrong each arm's prices are."""
        super().__post_init__()
        self._wrong = np.exp(self.blur * np.random.default_rng((self.seed, 1)).standard_normal(len(self.table.arms)))

    def price(self, arm: int, level: int, seed: int, rows: int, split: str = "select") -> float:
        """CPU seconds predicted for this look; the true ones while it is paid."""
        return super().price(arm, level, seed, rows, split) * (1.0 if self._paying else float(self._wrong[arm]))

    def look(self, arm: int, level: int, seed: int = 0, rows: int | None = None, split: str = "select") -> Look:
        """Look, and keep the time."""
        start = time.process_time()
        self._paying = True
        found = super().look(arm, level, seed, rows, split)
        self._paying = False
        self.clock += time.process_time() - start
        return found


@functools.lru_cache(maxsize=2)
def book_of(path: Path) -> Book:
    """Return the table with what all its replays share, so that no replay's clock runs while it is worked out."""
    book = Book(Table.load(path))
    if not (book.truth.size and book.field.size):  # reading them keeps them
        what = "a table without arms"
        raise DataError(what, where=str(path))
    return book


def variants(path: Path) -> list[Study]:
    """Return the study, and the study under a limit at the 70th percentile of the probes' latency when some are far above it."""
    probes = book_of(path).table.latency[:, 0]
    probes = probes[np.isfinite(probes)]
    limit = float(np.quantile(probes, 0.7)) if probes.size else np.inf
    return [Study(path), *([Study(path, limit)] if (probes > 3.0 * limit).mean() >= 0.05 else [])]


def cost_of(book: Book, rows: int, arms: NDArray[np.bool_]) -> float:
    """CPU seconds of exhaustive evaluation of some arms: as ``Book.cost_of_all``, which is this of all arms."""
    table = book.table
    used = {arm.prefix for arm, mine in zip(table.arms, arms, strict=True) if arm.prefix and mine}
    shared = sum(table.prefixes[name].fixed + table.prefixes[name].per_row * (table.train + rows) for name in used)
    return float(table.build[arms, -1, :].mean(axis=1).sum() + rows * table.predict[arms].sum() + shared)


def replay_of(study: Study, seed: int, blur: float = 0.0) -> Timed:
    """Return a fresh replay."""
    book = book_of(study.path)
    rows = min(ROWS, book.table.rows)
    return Timed(book, seed, rows, rows, study.limit, blur=blur)


def run(study: Study, seeds: Sequence[int], peers: Sequence[str], blur: float = 0.0) -> list[Run]:
    """Search the same replays as we do and as the peers do; ``blur`` is how wrong our predicted prices are."""
    return [_run(study, seed, peers, blur) for seed in seeds]


def _run(study: Study, seed: int, peers: Sequence[str], blur: float) -> Run:
    replay = replay_of(study, seed, blur)
    book, feasible = replay.book, replay.feasible
    start = time.process_time()
    verdict = rehearse(replay, Rules())
    planner = time.process_time() - start - replay.clock
    whole = cost_of(book, replay.select, feasible)
    lost = {}
    for name in peers:
        budget = min(whole, REACH.get(name, np.inf) * replay.spent)
        lost[name] = steps(book, PEERS[name](replay_of(study, seed), budget, seed), whole, feasible)
    return Run(
        study.name, seed, replay.spent, whole, book.cost_of_all(replay.select), regret(book, verdict.arm, feasible), verdict.stated,
        verdict.separated, verdict.rule, verdict.moves, planner, replay.wasted, book.table.arms[verdict.arm].id, lost,
    )  # fmt: skip


def steps(book: Book, trail: Trajectory, whole: float, feasible: NDArray[np.bool_]) -> Steps:
    """Return the regret along a trajectory; before its first look has ended a peer is credited with the arm it looks at."""
    found = [(0.0, regret(book, trail[0][1], feasible))]
    for cost, arm in trail:
        lost = regret(book, arm, feasible)
        if lost != found[-1][1]:
            found.append((cost / whole, lost))
    return found


# --------------------------------------------------------------------------------------------- a family more, and twins


@dataclass(frozen=True)
class Added:
    """A family added to a finished study: CPU seconds more, and those of evaluating that family exhaustively then."""

    study: str
    family: str
    extra: float
    own: float
    regret: float


def families(path: Path) -> list[str]:
    """Return the families of a table that have at least three arms."""
    names = [arm.family for arm in book_of(path).table.arms]
    return [name for name in dict.fromkeys(names) if names.count(name) >= 3]


def add_family(study: Study, family: str, seeds: Sequence[int]) -> list[Added]:
    """Finish a study without a family, then go on with it; what was seen is kept."""
    found = []
    for seed in seeds:
        replay = replay_of(study, seed)
        everyone = replay.feasible
        new = np.array([arm.family == family for arm in replay.table.arms])
        replay.feasible = everyone & ~new
        rehearse(replay, Rules())
        before = replay.spent
        fork = copy.deepcopy(replay, {id(replay.book): replay.book})
        for arm in np.flatnonzero(new):
            fork.look(int(arm), len(replay.table.fractions) - 1)
        replay.feasible = everyone
        verdict = rehearse(replay, Rules())
        lost = regret(replay.book, verdict.arm, everyone)
        found.append(Added(study.name, family, replay.spent - before, fork.spent - before, lost))
    return found


def twinned(table: Table) -> Table:
    """Return the table with an exact twin of its truly best arm: the same answers and costs under another name and setting."""
    best = int(Book(table).truth.argmax())
    mine = table.arms[best]
    twin = Arm(f"{mine.id}-twin", mine.family, {**mine.params, "twin": 1}, mine.prefix, mine.trains, mine.simplicity)
    arms = [replace(arm, params={**arm.params, "twin": 0}) if arm.family == mine.family else arm for arm in table.arms]
    once_more = np.append(np.arange(len(arms)), best)
    return replace(
        table, arms=(*arms, twin), predicted=table.predicted[once_more], known=table.known[once_more], build=table.build[once_more],
        predict=table.predict[once_more], latency=table.latency[once_more], size=table.size[once_more],
    )  # fmt: skip


@functools.lru_cache(maxsize=1)
def _twin_book(path: Path) -> Book:
    return Book(twinned(Table.load(path)))


def twins(study: Study, seeds: Sequence[int]) -> list[tuple[bool, bool]]:
    """Return for each replay whether the choice was declared better than everything else, and whether it is one of the twins."""
    book = _twin_book(study.path)
    rows = min(ROWS, book.table.rows)
    pair = {int(book.truth.argmax()), len(book.table.arms) - 1}
    found = []
    for seed in seeds:
        verdict = rehearse(Replay(book, seed, rows, rows), Rules())
        found.append((verdict.separated, verdict.arm in pair))
    return found


# ---------------------------------------------------------------------------------------------- one plan of a big study


def time_ask(arms: int = 1000, looked: int = 400, repeats: int = 9) -> list[float]:
    """CPU milliseconds of one whole ``ask`` on a ledger of so many probed candidates, some of them looked at; tuning is off."""
    ledger = large(arms, 500, 0, search={"tuner": "none"}, budget={"time": "24h"})
    chosen = {candidate.id for candidate in ledger.candidates[:: max(1, arms // looked)][:looked]}
    rows = tuple(row for row in ledger.results if row.result.fidelity.probe or row.result.candidate in chosen)
    evidence, found = replace(ledger, results=rows, eliminations=()), []
    for _ in range(repeats):
        start = time.process_time()
        proposal = ask(evidence.spec, evidence)
        found.append(1000.0 * (time.process_time() - start))
    if not proposal.trials or proposal.trials[0].purpose != "rung":
        message = "the timed ask was to plan a look"
        raise AssertionError(message)
    return found


def time_plan(arms: int = 1000, looks: int = 400, repeats: int = 9) -> list[float]:
    """CPU milliseconds of one ``plan_move`` with so many arms and looks: ten families, two numeric settings each."""
    random = np.random.default_rng(0)
    family = random.integers(0, 10, arms)
    params = [{"a": float(random.integers(12)), "b": float(random.integers(9))} for _ in range(arms)]
    table = _made(family, params, random)
    replay = Replay(Book(table), 0, table.rows, table.rows)
    for arm in random.choice(arms, looks, replace=False):
        replay.look(int(arm), int(random.integers(len(table.fractions))))
    offered, found = options(replay), []
    for _ in range(repeats):
        start = time.process_time()
        plan_move(replay.book.field, replay.looks, offered, Rules(), replay.feasible, replay.select)
        found.append(1000.0 * (time.process_time() - start))
    return found


def _made(
    family: NDArray[np.int64], params: list[dict[str, float]], random: np.random.Generator, rows: int = 1000
) -> Table:
    """Return a table of random answers: a right answer is likelier for some families and settings."""
    arms = tuple(Arm(f"f{mine}.v{place}", f"f{mine}", params[place]) for place, mine in enumerate(family))
    fractions = (1 / 27, 1 / 9, 1 / 3, 1.0)
    actual = random.integers(0, 2, rows).astype(np.uint8)
    level = 0.7 + 0.02 * family + np.array([0.004 * one["a"] for one in params])
    chance = level[:, None] - 0.03 * (np.power(fractions, -0.5) - 1.0)
    right = random.random((family.size, len(fractions), 1, rows)) < chance[:, :, None, None]
    shape = right.shape[:3]
    build = np.power(10.0, family / 5.0)[:, None, None] * np.array(fractions)[None, :, None] * np.ones(shape)
    return Table(
        "made", "made", "accuracy", ("no", "yes"), 1, 9000, fractions, arms, actual, np.where(right, actual, 1 - actual).astype(np.uint8),
        np.ones(shape, dtype=np.bool_), build, np.full(family.size, 1e-5), {}, np.full((family.size, 2), 1e-3), np.full((family.size, 2), 1e5),
    )  # fmt: skip
