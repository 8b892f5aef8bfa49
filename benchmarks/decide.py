"""Do the decision's statistics keep their word? ``make bench-decide``: simulation, about five minutes of one core.

Bars: every interval covers nominal ± 2 points; what is stated with 90 / 95 / 99 % is right that often ± 2 points; planted twins are told
apart at most 5 % of the time; a truly best candidate is dropped at most as often as stated; ``decide`` takes ≤ 300 ms and ≤ 500 MB on
200 candidates × 2,000 rows × 2,000 draws. Coverage and twins are held to the share seen; its interval is printed beside it. Intervals of
p95 miss the bar under a steady trend: they are too wide.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import central
from bakeoff.decision.latency import quantile_draws
from bakeoff.economics import FACTORS, Usage, estimate, load_book, parts
from bakeoff.schema import Measurement, Spec
from bakeoff.search import sequences
from bakeoff.search.values import row_values
from bakeoff.tasks.scoring import score
from benchmarks import ROOT, finish, spread
from benchmarks._stats import SLACK, reliability, share, upper_bound
from benchmarks._studies import chosen, qualities, raced, right_answers, spec_of, view

STUDIES, WORLDS, TWINS, RUNS = 2000, 2400, 1000, 10_000
LEVEL, ALPHA, ZONE = 0.95, 0.05, 0.005
DECIDE_SECONDS, DECIDE_BYTES, ONCE_MORE = 0.3, 500e6, 1 / 50
_POPULATION = 400_000
Numbers = NDArray[np.float64]


def _covered(hits: int, runs: int, nominal: float = LEVEL) -> dict[str, Any]:
    """Return coverage with its interval; ``met``: the share seen is within two points of nominal, whatever the interval would still allow."""
    return {**share(hits, runs), "met": abs(hits / runs - nominal) <= SLACK + 1e-9}


def quality_coverage() -> Iterator[tuple[str, dict[str, Any]]]:
    """Intervals of accuracy and macro F1 of one candidate, the rarer class a quarter of the rows; and of one that is nearly perfect."""
    random = np.random.default_rng(1)
    for rows, accuracy in ((200, 0.85), (1000, 0.85), (2600, 0.85), (200, 0.99)):
        labels = (random.random(_POPULATION) < 0.25).astype(np.int64)
        right = random.random(_POPULATION) < np.where(labels == 1, accuracy - 0.06, accuracy + 0.02).clip(max=0.995)
        answers = np.where(right, labels, 1 - labels)
        truth = {metric: score(metric, labels, answers) for metric in ("accuracy", "macro_f1")}
        hits = dict.fromkeys(truth, 0)
        for number in range(STUDIES):
            picked = random.integers(0, _POPULATION, rows)
            found = qualities([view("a", right[picked], labels[picked], 1)], "macro_f1", number)["a.v.none.native"]
            for metric, drawn in (("accuracy", found.accuracy), ("macro_f1", found.sampling)):
                low, high = central(drawn, LEVEL)
                hits[metric] += low <= truth[metric] <= high
        for metric, count in hits.items():
            yield f"{metric} {accuracy:g}, {rows} rows", _covered(count, STUDIES)


def _drift(kind: str, rounds: int, random: np.random.Generator) -> Numbers:
    """Log state of the machine in each round: still, independent, wandering (AR(1), 0.3) or heating up steadily."""
    noise = random.standard_normal(rounds)
    if kind == "steady":
        return 0.0 * noise
    if kind == "trend":
        return 0.2 * (np.arange(rounds) - (rounds - 1) / 2) / rounds
    if kind == "wandering":
        for place in range(1, rounds):
            noise[place] = 0.3 * noise[place - 1] + (1 - 0.3**2) ** 0.5 * noise[place]
    return 0.08 * noise


def latency_coverage() -> Iterator[tuple[str, dict[str, Any]]]:
    """Intervals of p95 over 150 requests a round; the truth is the p95 over all states the machine passes through."""
    random = np.random.default_rng(2)
    for kind in ("steady", "rounds differ", "wandering", "trend"):
        states = np.concatenate([_drift(kind, 8, random) for _ in range(100_000)])
        truth = float(np.quantile(np.exp(0.25 * random.standard_normal(states.size) + states), 0.95))
        for rounds in (3, 4, 8):
            hits = 0
            for number in range(STUDIES):
                state = _drift(kind, rounds, random)
                timed = [np.exp(0.25 * random.standard_normal(150) + shift) for shift in state]
                low, high = central(quantile_draws(timed, [0.95], 500, number % 8)[0], LEVEL)
                hits += low <= truth <= high
            yield f"p95 {kind}, {rounds} rounds", _covered(hits, STUDIES)


def cost_coverage() -> dict[str, Any]:
    """Intervals of the total cost: prices, speeds and efforts drawn from the book's ranges, capacity and training time measured with error."""
    random, book = np.random.default_rng(3), load_book(None)
    hits = 0
    for _ in range(STUDIES):
        spec = _traffic(float(10 ** random.uniform(1, 3)))
        capacity, seconds = float(random.lognormal(3.0, 0.5)), float(random.lognormal(5.0, 1.0))
        exact = _usage(
            Measurement(name="capacity", value=capacity, n=1), Measurement(name="train_seconds", value=seconds, n=1)
        )
        truth = float(parts(spec, exact, book, random.random((1, len(FACTORS)))).money(spec)[0])
        seen = capacity * np.exp(0.1 * random.standard_normal())
        measured = Measurement(name="capacity", value=seen, low=seen * np.exp(-0.196), high=seen * np.exp(0.196), n=400)
        found = estimate(spec, _usage(measured, exact.train_seconds), book)
        hits += found.low <= truth <= found.high
    return _covered(hits, STUDIES)


def _traffic(peak: float) -> Spec:
    content = spec_of().model_dump(mode="json")
    return Spec.model_validate(
        {**content, "traffic": {"volume": peak / 10, "peak": peak, "growth": 0.2, "horizon": "12mo"}}
    )


def _usage(capacity: Measurement, seconds: Measurement | None) -> Usage:
    return Usage("a", "linear", 1, trains=True, threads=1, train_rows=5000, train_seconds=seconds, capacity=capacity)


def stated_confidence() -> dict[str, Any]:
    """Decisions on planted worlds: half judge every arm in full, half stopped arms at a third of the rows (the best one may be among them)."""
    random, spec = np.random.default_rng(4), spec_of()
    good, best, winners = [], [], []
    for number in range(WORLDS):
        rows, apart = int(random.choice([300, 1000, 2600])), float(random.choice([0.003, 0.01, 0.03]))
        if number % 2:
            views, truth = raced(random, 12, apart, rows, 4)
            accuracy = truth.accuracy
        else:
            accuracy = np.clip(0.85 + apart * random.standard_normal(int(random.choice([2, 3, 5, 10]))), 0.5, 0.995)
            actual, right = random.integers(0, 2, rows), right_answers(random, accuracy, rows)
            views = [view(f"arm{place:02d}", row, actual, place % 5) for place, row in enumerate(right)]
        _, choice = chosen(views, spec, number)
        assert choice.recommended is not None
        loss = float(accuracy.max() - accuracy[choice.recommended])
        good.append((float(choice.p_good[choice.recommended]), loss <= ZONE))
        best.append((float(choice.p_best[choice.recommended]), loss <= 0.0))
        if choice.outcome == "winner":
            winners.append(loss <= ZONE)
    return {"good": reliability(good), "best": reliability(best), "winners": share(sum(winners), len(winners))}


def twins() -> dict[str, Any]:
    """Two equal best candidates among five: with the same answers, and with answers of their own."""
    random, spec, found = np.random.default_rng(5), spec_of(), {}
    for kind in ("exact", "equal"):
        clear = 0
        for number in range(TWINS):
            accuracy, rows = np.array([0.86, 0.86, 0.84, 0.82, 0.80]), int(random.choice([300, 1000, 2600]))
            actual, right = random.integers(0, 2, rows), right_answers(random, accuracy, rows)
            if kind == "exact":
                right[1] = right[0]
            _, choice = chosen(
                [view(f"arm{place}", row, actual, place) for place, row in enumerate(right)], spec, number
            )
            clear += choice.outcome == "winner" and choice.recommended in {0, 1}
        found[kind] = {**share(clear, TWINS), "met": clear / TWINS <= ALPHA}
    return found


def elimination() -> Iterator[tuple[str, dict[str, Any]]]:
    """Ten thousand pairs of equal candidates looked at after each of 2,000 rows; a race of twelve; macro F1 with a rare class."""
    random = np.random.default_rng(6)
    for disagree in (0.02, 0.1, 0.3, 1.0):
        wrong = 0
        for _ in range(RUNS // 500):
            signs = np.where(random.random((500, 2000)) < 0.5, 1.0, -1.0)
            ties = np.where(random.random((500, 2000)) < disagree, signs, 0.0)
            wrong += int(sequences.beaten(ties, ALPHA).sum())
        yield f"pairs that disagree on {100 * disagree:g} %", _at_most(wrong, RUNS)
    wrong = 0
    for _ in range(RUNS // 5):
        right = right_answers(random, np.array([0.85] * 4 + [0.84] * 4 + [0.78] * 4), 600).astype(np.float64)
        wrong += bool(sequences.eliminated(right, ALPHA)[0])
    yield "one of four best in a race of twelve", _at_most(wrong, RUNS // 5)
    wrong = 0
    for _ in range(RUNS // 5):
        wrong += _told_apart(random)
    yield "macro F1, rare class, ten looks", _at_most(wrong, RUNS // 5)


def _told_apart(random: np.random.Generator) -> bool:
    actual = (random.random(1000) < 0.15).astype(np.int64)
    right = right_answers(random, np.array([0.88, 0.88]), 1000)
    ours, theirs = (np.where(row, actual, 1 - actual) for row in right)
    return any(
        bool(sequences.beaten_asymptotically(
            row_values("macro_f1", actual[:n], ours[:n]) - row_values("macro_f1", actual[:n], theirs[:n]), ALPHA
        ))
        for n in range(100, 1001, 100)
    )  # fmt: skip


def _at_most(wrong: int, runs: int) -> dict[str, Any]:
    bound = upper_bound(wrong, runs)
    return {"rate": round(wrong / runs, 4), "at_most": round(bound, 4), "runs": runs, "met": bound <= ALPHA}


def speed() -> dict[str, Any]:
    """Seconds of ``decide`` and of deciding again under another limit, and peak memory of the process, in processes of their own."""
    found = {}
    for name, finalists in (("all finalists", 200), ("12 finalists", 12)):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.decide", "--once", str(finalists)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        found[name] = json.loads(done.stdout)
    return found


def once(finalists: int, candidates: int = 200, rows: int = 2000) -> dict[str, Any]:
    """Time decisions in this process: on the clock, and in processor seconds, which other work on the machine hardly changes."""
    import resource

    from bakeoff.decision import decide
    from benchmarks._evidence import large

    evidence = large(candidates, rows, finalists)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    decide(evidence)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures: dict[str, list[float]] = {"seconds": [], "cpu_seconds": [], "again_seconds": [], "again_cpu_seconds": []}
    for number in range(9):
        for name, changed in (("", {}), ("again_", {"requirements.latency.p95": f"{20 + number}ms"})):
            clock, processor = time.perf_counter(), time.process_time()
            decide(evidence, overrides=changed)
            figures[f"{name}seconds"].append(time.perf_counter() - clock)
            figures[f"{name}cpu_seconds"].append(time.process_time() - processor)
    return {**{name: spread(values, 3) for name, values in figures.items()}, "bytes": peak, "bytes_before": before}


def first_run() -> dict[str, float]:
    """A real first run (the study kept in tests/historic) against deciding again on a ledger of its size, in processor seconds."""
    run = json.loads((ROOT / "tests" / "historic" / "0.1.0" / "decision.json").read_text(encoding="utf-8"))
    candidates, rows = run["run"]["candidates_considered"], run["profile"]["split"]["confirm"]
    again = once(5, candidates, rows)["again_cpu_seconds"]["median"]
    return {"first": run["run"]["cpu_seconds"], "again": again, "share": again / run["run"]["cpu_seconds"]}


def _print(title: str, rows: Iterator[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    print(title)
    found = {}
    for name, row in rows:
        figures = ", ".join(f"{key} {value}" for key, value in row.items() if key != "met")
        print(f"  {name:<40} {figures}{'' if row['met'] else '   MISSED'}", flush=True)
        found[name] = row
    return found


def main() -> int:
    """Measure and print."""
    if sys.argv[1:2] == ["--once"]:
        print(json.dumps(once(int(sys.argv[2]))))
        return 0
    begin = time.perf_counter()
    coverage = _print(f"coverage of {100 * LEVEL:g} % intervals", quality_coverage())
    coverage |= _print("", latency_coverage()) | _print("", iter([("total cost", cost_coverage())]))
    dropped = _print(f"a best candidate is dropped (stated: {ALPHA})", elimination())
    equal = _print(f"twins told apart (stated: {ALPHA})", iter(twins().items()))
    sure = stated_confidence()
    for name in ("good", "best"):
        _print(f"stated confidence, {name}", ((f"{row['level']:.0%}", row) for row in sure[name]))
    print(f"winners inside the zone: {sure['winners']}")
    times = speed()
    worst = times["all finalists"]
    print(f"decide: {times}; bars {DECIDE_SECONDS} s, {DECIDE_BYTES / 1e6:.0f} MB")
    real = first_run()
    print(
        f"deciding again: {real['again']:.3f} processor seconds, {real['share']:.5f} of a first run of {real['first']:.0f}; bar {ONCE_MORE}"
    )
    finish(
        "decide", coverage=coverage, elimination=dropped, twins=equal, confidence=sure, decide=times, again=real,
        met={
            "coverage": all(row["met"] for row in coverage.values()), "elimination": all(row["met"] for row in dropped.values()),
            "twins": all(row["met"] for row in equal.values()), "confidence": all(row["met"] for row in sure["good"]),
            "seconds": worst["seconds"]["median"] <= DECIDE_SECONDS, "bytes": worst["bytes"] <= DECIDE_BYTES,
            "again": real["share"] <= ONCE_MORE,
        },
        seconds=round(time.perf_counter() - begin, 1),
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
