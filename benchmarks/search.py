"""Our search against exhaustive evaluation and nine peers, replayed on the recorded tables.

Ours is the planner itself, with the belief, gains and rules it has on a ledger; without probes, tuning, ensembles made on the way and the
final's statistics, which a table cannot show. For every table, and again under a latency limit where some arms are far slower than the
others: cost of the decision, true regret, how far stated confidence can be trusted, our own arithmetic, and every peer's regret at our cost
on the same rows. Peers know which arms break the limit and pay for none; a peer whose first look has not ended is credited with the arm it
looks at. Samplers that need seconds of arithmetic get fewer replays (``_search_runs.SLOW``) and run without a limit only, variants a
quarter of them; the Gaussian process stops at our cost. Once more we search with predicted prices that are wrong by a factor of 1.5
(log-normal, per arm), since nobody knows prices in advance. About two minutes per table on two cores; ``--replays``, ``--tables``,
``--peers`` make it shorter, ``--out`` keeps every replay, ``--json`` prints the last line only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

_PINNED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
os.environ.update(dict.fromkeys(_PINNED, "1"))  # before numpy is imported

from bakeoff.schema.errors import DataError  # noqa: E402 - threads are pinned first
from benchmarks import finish  # noqa: E402
from benchmarks._search_figures import ZONE, Figure, met, of_added, of_study, of_twins, overall  # noqa: E402
from benchmarks._search_runs import (  # noqa: E402
    PEERS,
    SLOW,
    Run,
    Study,
    add_family,
    book_of,
    families,
    run,
    time_ask,
    time_plan,
    twins,
    variants,
)

_TABLES = Path(__file__).parent / "tables"
_WORKERS = 2
_CHUNK = 10
_ADDED = 2
"""Replays of adding each family."""
_LIMITED = 4
"""A study under a limit gets this many times fewer replays, and so do those with wrong prices and with twins; ours and quick peers only."""
_BLUR = 0.405
"""Logarithm of 1.5."""


Jobs = list[Future[list[Run]]]


def jobs(pool: ProcessPoolExecutor, study: Study, replays: int, peers: Sequence[str]) -> Jobs:
    """Start every replay of a study, those with slow peers first and one at a time."""
    slow = {name: min(SLOW[name], replays) for name in peers if name in SLOW and study.limit is None}
    first = max(slow.values(), default=0)
    quick = [name for name in peers if name not in SLOW]
    last = replays if study.limit is None else -(-replays // _LIMITED)
    whole = [(range(seed, seed + 1), [*quick, *(name for name in slow if seed < slow[name])]) for seed in range(first)]
    parts = [(range(start, min(start + _CHUNK, last)), quick) for start in range(first, last, _CHUNK)]
    return [pool.submit(run, study, seeds, names) for seeds, names in [*whole, *parts]]


def blurred(pool: ProcessPoolExecutor, study: Study, replays: int) -> Jobs:
    """Start replays in which predicted prices are wrong; none under a limit."""
    last = -(-replays // _LIMITED) if study.limit is None else 0
    return [
        pool.submit(run, study, range(start, min(start + _CHUNK, last)), [], _BLUR) for start in range(0, last, _CHUNK)
    ]


def points(figure: Figure, digits: int = 2) -> str:
    """A figure in points (hundredths) with its interval."""
    if figure["value"] is None:
        return "none"
    return f"{100 * figure['value']:.{digits}f} [{100 * figure['low']:.{digits}f}, {100 * figure['high']:.{digits}f}]"


def say_study(name: str, found: Figure) -> None:
    """Print one study."""
    cost, lost = found["cost"], found["regret"]
    print(f"\n{name}: {found['replays']} replays, exhaustive {found['exhaustive_seconds']:.0f} CPU s")
    print(f"  cost / exhaustive   geometric {points(cost['geometric'], 1)} %, median {100 * cost['median']:.1f} %, most {100 * cost['max']:.1f} %"
          f"; {100 * cost['of_everything']:.1f} % of all arms, fit or not")  # fmt: skip
    print(f"  regret, points      mean {points(lost['mean'])}, p95 {100 * lost['p95']:.2f}, most {100 * lost['max']:.2f}; "
          f"inside {100 * ZONE:.1f}: {points(found['inside'], 1)} %")  # fmt: skip
    say_trust(found["reliability"])
    print(f"  stopped by          {found['rules']}, {found['moves']:.0f} looks; chose {found['chosen']}")
    print(f"  own arithmetic      {1000 * found['planner_seconds']:.0f} ms a study, {points(found['planner_share'])} % of what was spent; "
          f"{found['wasted_seconds']:.1f} s on arms that break the limit")  # fmt: skip
    if found["wrong_prices"]:
        wrong = found["wrong_prices"]
        print(f"  prices off by 1.5   cost geometric {points(wrong['cost'], 1)} %, regret mean {points(wrong['regret'])}, "
              f"inside {points(wrong['inside'], 1)} % ({wrong['inside']['n']} replays)")  # fmt: skip
    if found["peers"]:
        print(
            f"  {'peer at our cost':<20} {'n':>4} {'regret, points':>20} {'more than ours':>22} {'ratio':>6} {'as good at':>22}"
        )
    for peer, figures in found["peers"].items():
        times = "" if figures["ratio"] is None else f"{figures['ratio']:.1f}"
        needs = (
            "never"
            if figures["needs"] is None
            else f"{100 * figures['needs']:.1f} % ({figures['needs_times_ours']:.1f} x ours)"
        )
        more = points(figures["more_than_ours"])
        print(
            f"  {peer:<20} {figures['regret']['n']:>4} {points(figures['regret']):>20} {more:>22} {times:>6} {needs:>22}"
        )


def say_trust(found: Figure) -> None:
    """Print stated confidence against how often it was right."""
    names = {
        "all": "all decisions",
        "from_95": "stated >= .95",
        "90": "stated ~ .90",
        "95": "stated ~ .95",
        "99": "stated ~ .99",
    }
    for key, words in names.items():
        one = found[key]
        if one["stated"] is not None:
            print(
                f"  {words:<19} n {one['right']['n']:>4}: stated {100 * one['stated']:.1f} %, right {points(one['right'], 1)} %"
            )


def say_all(total: Figure, plan_ms: float, ask_ms: float, added: Figure, doubled: Figure) -> None:
    """Print what is asked of all studies together."""
    cost = total["cost"]
    print("\nover all studies")
    print(f"  cost / exhaustive   geometric mean {100 * cost['value']:.1f} % (bar 10), with limits {100 * cost['with_limits']:.1f} %, "
          f"worst study {100 * cost['worst']:.1f} % (bar 33)")  # fmt: skip
    say_trust(total["reliability"])
    for name, one in total["lowest"].items():
        print(f"  lowest regret on {name:<18} {'yes' if one['lowest'] else 'no, lower: ' + ', '.join(one['lower'])}"
              f"{'; beyond doubt: ' + ', '.join(one['lower_beyond_doubt']) if one['lower_beyond_doubt'] else ''}")  # fmt: skip
    print(f"  own arithmetic      {100 * total['planner_share']:.2f} % of what was spent (bar 2), worst study "
          f"{100 * total['planner_share_worst']:.2f} %")  # fmt: skip
    print(f"  of 1,000 arms, 400 looked at: choosing {plan_ms:.0f}, a whole ask {ask_ms:.0f} CPU ms (bar 50)")
    print(f"  on arms that break a limit: {total['wasted_seconds']:.1f} s (bar 0)")
    dear = sorted(added["families"].items(), key=lambda item: -item[1]["ratio"])[:3]
    most = ", ".join(f"{name} {one['ratio']:.1f} x {one['own_seconds']:.2f} s" for name, one in dear)
    print(f"  a family added      median {added['median']:.2f} of its own cost, {points(added['within'], 1)} % within 1.1 (bar 100), "
          f"all together {added['of_all']:.2f}; most: {most}")  # fmt: skip
    print(f"  planted twins       one declared better {points(doubled['declared_better'], 1)} % (bar 5), one chosen "
          f"{points(doubled['chosen'], 1)} %; without twins declared better {points(doubled['declared_better_without'], 1)} %")  # fmt: skip


def complete(paths: Sequence[Path]) -> list[Path]:
    """Return the tables in which everything was recorded: in others nobody knows the truth; those are named and left out."""
    found = [path for path in paths if book_of(path).table.known.all()]
    for path in paths:
        if path not in found:
            print(f"{path.stem}: recorded in part, left out", file=sys.stderr)
    if not found:
        what = "no complete table to search"
        raise DataError(what, got=", ".join(str(path) for path in paths) or "none")
    return found


def search(chosen: argparse.Namespace) -> tuple[dict[str, Figure], list[Run], Figure, Figure]:
    """Run every replay in two processes, saying each study when it is done; return studies, replays, families added, twins."""
    studies = [study for path in chosen.tables for study in variants(path)]
    figures: dict[str, Figure] = {}
    runs: list[Run] = []
    with ProcessPoolExecutor(_WORKERS, mp_context=get_context("spawn")) as pool:
        waiting = [
            (study, jobs(pool, study, chosen.replays, chosen.peers), blurred(pool, study, chosen.replays))
            for study in studies
        ]
        seeds = range(min(_ADDED, chosen.replays))
        more = [
            pool.submit(add_family, Study(path), family, seeds) for path in chosen.tables for family in families(path)
        ]
        seeds = range(-(-chosen.replays // _LIMITED))
        pairs = [pool.submit(twins, Study(path), seeds) for path in chosen.tables]
        for study, ours, wrong in waiting:
            mine = [one for job in ours for one in job.result()]
            figures[study.name] = of_study(mine, [one for job in wrong for one in job.result()])
            runs += mine
            if not chosen.json:
                say_study(study.name, figures[study.name])
        plain = [one for one in runs if "@" not in one.study]
        doubled = of_twins([one for job in pairs for one in job.result()], plain)
        return figures, runs, of_added([one for job in more for one in job.result()]), doubled


def main() -> int:
    """Replay, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument(
        "--tables",
        nargs="+",
        type=Path,
        default=sorted(_TABLES.glob("*.table")),
        help="table files, or names of shipped ones",
    )
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--out", type=Path, help="write every replay here, one JSON object a line")
    parser.add_argument("--json", action="store_true", help="print the last line only")
    chosen = parser.parse_args()
    chosen.tables = complete([path if path.exists() else _TABLES / f"{path}.table" for path in chosen.tables])
    studies, runs, added, doubled = search(chosen)
    if chosen.out:
        chosen.out.write_text("".join(json.dumps(asdict(one)) + "\n" for one in runs), encoding="utf-8")
    plan_ms, ask_ms = statistics.median(time_plan()), statistics.median(time_ask())
    total = overall(studies, runs)
    bars = met(total, added, doubled, ask_ms)
    if not chosen.json:
        say_all(total, plan_ms, ask_ms, added, doubled)
        print("  bars: " + ", ".join(f"{name} {'met' if good else 'missed'}" for name, good in bars.items()))
    finish(
        "search",
        studies=studies,
        overall=total,
        added_family=added,
        twins=doubled,
        plan_ms=plan_ms,
        ask_ms=ask_ms,
        met=bars,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
