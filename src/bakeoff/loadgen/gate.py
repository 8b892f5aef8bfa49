"""The contract as a gate: its promises of latency and throughput, and the trial's labels, held against a running server.

Latency is promised for one request at a time, throughput as a rate of Poisson arrivals at which the latency promises still hold; each
is tested in the scenario it was promised in. The contract rows are what is sent one at a time: more at once would wait at a slow model for
longer than it promises, and a server sheds that. What breaks the contract is told apart from what says nothing of it: a run that is not
valid, requests that failed, rows that were not answered in time. A status of 429 is a failure here: how often one client may ask was
said to the server, and is no part of the contract.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from bakeoff.evaluation.percentiles import required
from bakeoff.loadgen.client import Run
from bakeoff.loadgen.report import FIGURES, QUANTILES, Clause, Gate, Kept, Summary
from bakeoff.loadgen.session import SECONDS, Session
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Contract
from bakeoff.schema.measurement import Measurement

_TWICE = 2
"""Times what a percentile needs, so that its interval has an upper end."""
_PATIENCE = 6.0
"""Times the seconds asked for that one request after another may take, however little is promised."""
_MOST_SECONDS = 600.0
"""Longest that contract rows are sent, unless a percentile needs more: of a model that promises seconds some are compared, drawn at random."""
_LEAST_ROWS = required(0.95)
"""Rows to compare before labels count as the trial's: if more than one in twenty differed, one of so many would have."""

_OVERLOAD = (503,)
"""What a server says that cannot keep up."""

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


class Expected(Protocol):
    """What the trial answered to each request of a session."""

    def __len__(self) -> int:
        """Return the number of requests."""
        ...

    def same(self, request: int, label: str | None) -> bool:
        """Say whether a label is the trial's, or as good as the trial's."""
        ...


def hold(session: Session, contract: Contract, expected: Expected | None) -> tuple[Gate, Summary, Run]:
    """Test every promise that can be seen from outside; return the verdict and the run that matters most.

    Args:
        session: sends single rows.
        contract: what was promised.
        expected: the trial's labels; None when they are not at hand.

    """
    limits, rate, rows = limits_of(contract), rate_of(contract), 0 if expected is None else len(expected)
    single_seconds, rate_seconds = spans(contract, rows, session.asked.seconds)
    session.warm_up()
    plan = session.plan(rate=None, seconds=single_seconds, clients=1)
    plan = replace(plan, count=max(_needed(limits), rows), bodies=True)
    single, log = session.send(plan, "single-stream", limits, _OVERLOAD)
    labels = _labels(log, expected)
    clauses = [_latency(single, name, limit) for name, limit in limits.items()]
    main, reasons = single, [*labels.reasons, *single.advice]
    if rate is not None:
        main, log = session.send(session.plan(rate=rate, seconds=rate_seconds), "server", limits, _OVERLOAD)
        reasons += main.advice
        clauses.append(_throughput(main, rate))
    broken = labels.same < labels.rows or any(one.verdict == "broken" for one in clauses)
    gate = Gate(
        passed=not broken and not reasons, broken=broken, clauses=tuple(clauses), rows=labels.rows,
        rows_in_all=rows, same_labels=labels.same, reasons=tuple(reasons),
    )  # fmt: skip
    return gate, main, log


def spans(contract: Contract, rows: int, seconds: float = SECONDS) -> tuple[float, float]:
    """Return for how long requests are sent [s]: at most, one after another; then at the promised rate, 0 where none is promised.

    Args:
        contract: what was promised.
        rows: contract rows to compare.
        seconds: length of a run that was asked for.

    """
    limits, rate = limits_of(contract), rate_of(contract)
    needed, least, promised = _needed(limits), _PATIENCE * seconds, max(limits.values(), default=None)
    at_rate = max(seconds, needed / rate) if rate is not None else 0.0
    if promised is None:
        return max(least, _MOST_SECONDS), at_rate
    return max(least, needed * promised, min(rows * promised, _MOST_SECONDS)), at_rate


def _needed(limits: Mapping[str, float]) -> int:
    """Return the requests that every percentile which has to be stated needs."""
    return max(_TWICE * required(QUANTILES[name]) for name in (FIGURES["single-stream"], *limits))


@dataclass(frozen=True)
class _Labels:
    """Contract rows that were answered, how many of them with the trial's label, and what is wrong."""

    rows: int
    same: int
    reasons: tuple[Words, ...]


def _labels(log: Run, expected: Expected | None) -> _Labels:
    """Compare the answers that came; rows of which none came are no wrong ones, but some have to be there."""
    if expected is None:
        return _Labels(0, 0, (_NO_ROWS,))
    good = set(zip(log.request[log.good].tolist(), log.digest[log.good].tolist(), strict=True))
    came = [(row, label_of(body)) for (row, digest), body in log.bodies.items() if (row, digest) in good]
    rows, wrong = {row for row, _ in came}, {row for row, label in came if not expected.same(row, label)}
    reasons = []
    if wrong:
        reasons.append(Words(
            zh=f"{len(wrong)} 条契约行的标签与试验不同", en=f"{len(wrong)} contract rows did not get the trial's label"
        ))  # fmt: skip
    if len(rows) < (least := min(_LEAST_ROWS, len(expected))):
        reasons.append(Words(
            zh=f"{log.wall:.0f} 秒内只有 {len(rows)} 条契约行得到应答，至少要比较 {least} 条；调大 --seconds",
            en=f"{len(rows)} contract rows were answered within {log.wall:.0f} s, and {least} have to be compared; raise --seconds",
        ))  # fmt: skip
    return _Labels(len(rows), len(rows) - len(wrong), tuple(reasons))


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
    if not seen.late and (not seen.sustained or any(one.verdict == "broken" for one in seen.limits)):
        verdict = "broken"
    here = Measurement(
        name="throughput", value=seen.achieved, n=seen.requests, unit="1/s", remark="good answers per second"
    )
    return Clause(name="throughput", limit=rate, unit="1/s", here=here, verdict=verdict)
