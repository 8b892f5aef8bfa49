"""The contract as a gate: its promises of latency and throughput, and the trial's labels, held against a running server.

Latency is promised for one request at a time, throughput as a rate of Poisson arrivals at which the latency promises still hold; each
is tested in the scenario it was promised in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from bakeoff.evaluation.percentiles import required
from bakeoff.loadgen.client import Run
from bakeoff.loadgen.report import QUANTILES, Clause, Gate, Kept, Summary
from bakeoff.loadgen.session import Session
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Contract
from bakeoff.schema.measurement import Measurement

_TWICE = 2
"""Times what a percentile needs, so that its interval has an upper end."""
_ROWS_AT_ONCE = 8
_PATIENCE = 6.0
"""Times the seconds asked for that one request after another may take."""


_NO_ROWS = Words(
    zh="没有契约行可供核对标签：请用 --bundle 给出交付包，或交付时带上契约行",
    en="there are no contract rows to compare labels on: name the bundle with --bundle, and ship it with its rows",
)


def limits_of(contract: Contract | None) -> dict[str, float]:
    """Return the promised latency percentiles: name → seconds."""
    if contract is None:
        return {}
    found = {
        one.name.removeprefix("latency_"): one.limit for one in contract.promises if one.name.startswith("latency_")
    }
    return {name: limit for name, limit in found.items() if name in QUANTILES}


def rate_of(contract: Contract | None) -> float | None:
    """Return the promised requests per second, None where nothing is promised."""
    promises = contract.promises if contract else ()
    return next((one.limit for one in promises if one.name == "throughput"), None)


def hold(session: Session, contract: Contract, expected: Sequence[str] | None) -> tuple[Gate, Summary, Run]:
    """Test every promise that can be seen from outside; return the verdict and the run that matters most.

    Args:
        session: sends single rows.
        contract: what was promised.
        expected: the trial's label of each request of the session; None when they are not at hand.

    """
    limits, rate = limits_of(contract), rate_of(contract)
    session.warm_up()
    rows, same, reasons = _labels(session, expected)
    needed = max([required(0.5), *(_TWICE * required(QUANTILES[name]) for name in limits)])
    plan = replace(session.plan(rate=None, seconds=_PATIENCE * session.asked.seconds, clients=1), count=needed)
    single, log = session.send(plan, "single-stream", limits)
    clauses = [_latency(single, name, limit) for name, limit in limits.items()]
    main = single
    reasons += single.advice
    if rate is not None:
        seconds = max(session.asked.seconds, needed / rate)
        main, log = session.send(session.plan(rate=rate, seconds=seconds), "server", limits)
        reasons += main.advice
        clauses.append(_throughput(main, rate))
    broken = any(one.verdict == "broken" for one in clauses)
    gate = Gate(
        passed=not broken and not reasons and same == rows,
        clauses=tuple(clauses),
        rows=rows,
        same_labels=same,
        reasons=tuple(reasons),
    )
    return gate, main, log


def _labels(session: Session, expected: Sequence[str] | None) -> tuple[int, int, list[Words]]:
    """Send every contract row once, some at a time; return rows, rows with the trial's label, and what is wrong."""
    if expected is None:
        return 0, 0, [_NO_ROWS]
    base = session.plan(rate=None, seconds=_PATIENCE * session.asked.seconds, clients=_ROWS_AT_ONCE)
    log = session.run(replace(base, count=len(expected), bodies=True))
    found = {index: label_of(body) for (index, _), body in log.bodies.items()}
    same = sum(found.get(index) == label for index, label in enumerate(expected))
    if same == len(expected):
        return len(expected), same, []
    failed = int((~log.good).sum())
    other = len(expected) - same
    return len(expected), same, [Words(
        zh=f"{other} 条契约行的标签与试验不同（其中 {failed} 次请求失败）",
        en=f"{other} contract rows did not get the trial's label ({failed} of the requests failed)",
    )]  # fmt: skip


def label_of(body: bytes) -> str | None:
    """Return the label in an answer of ``/v1/predict`` or of the Open Inference Protocol; None where there is none."""
    try:
        document = json.loads(body)
        if "predictions" in document:
            return str(document["predictions"][0]["label"])
        return next(str(tensor["data"][0]) for tensor in document["outputs"] if tensor["name"] == "label")
    except (ValueError, KeyError, IndexError, TypeError, StopIteration):
        return None


def _latency(seen: Summary, name: str, limit: float) -> Clause:
    here = next(one for one in seen.latency if one.name == f"latency_{name}")
    verdict = next(one.verdict for one in seen.limits if one.name == name)
    return Clause(name=f"latency_{name}", limit=limit, unit="s", here=here, verdict=verdict)


def _throughput(seen: Summary, rate: float) -> Clause:
    verdict: Kept = "kept" if seen.kept else "refused"
    if not seen.sustained or any(one.verdict == "broken" for one in seen.limits):
        verdict = "broken"
    here = Measurement(
        name="throughput", value=seen.achieved, n=seen.requests, unit="1/s", remark="good answers per second"
    )
    return Clause(name="throughput", limit=rate, unit="1/s", here=here, verdict=verdict)
