"""From the log of a run to a verdict: VALID, or INVALID with what to do about it (after MLPerf LoadGen's result summary).

The verdict is on the measurement: VALID means that its numbers may be believed. Whether a limit is kept is said apart, where MLPerf has one
word for both: a run that proves a limit broken is a good measurement of a server that is too slow.

A percentile is stated only when the sample can carry it. Requests that were shed count as later than any limit. Nothing is
subtracted: latency runs from the moment a request was due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from bakeoff.evaluation.percentiles import percentile, required
from bakeoff.loadgen.client import Run
from bakeoff.loadgen.engine import CLOSED, MALFORMED, REFUSED, TIMED_OUT, Plan
from bakeoff.loadgen.report import FIGURES, QUANTILES, LimitVerdict, Scenario, Summary
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Measurement

SHED = (429, 503)
"""Statuses that say overload politely."""
_NAMES = {REFUSED: "refused", CLOSED: "closed", TIMED_OUT: "timed out", MALFORMED: "not HTTP"}
_BEHIND = 0.05
_LATE_SHARE = 0.10
_LATE_LEAST = 0.001
_BUSY = 0.95
_ALWAYS = ("p50", "p95")
_NOTHING_CAME = Words(
    zh="没有一次请求得到应答：确认服务在运行、地址和请求内容正确",
    en="not one request was answered: check that the server runs, its address, and what is sent",
)
Floats = NDArray[np.float64]


def summarise(
    run: Run,
    plan: Plan,
    scenario: Scenario,
    limits: Mapping[str, float],
    *,
    rows: int = 1,
    confidence: float = 0.95,
    polite: Collection[int] = SHED,
) -> Summary:
    """Judge one run.

    Args:
        run: what the client noted.
        plan: what it was told to do.
        scenario: how it is called in the report.
        limits: percentile name → limit in seconds.
        rows: rows per request.
        confidence: of the intervals, two-sided.
        polite: statuses that count as shed; any other but 2xx is a failure.

    """
    good, shed = run.good, np.isin(run.status, list(polite))
    latency = np.where(shed, np.inf, run.latency)[good | shed]
    statuses = Counter(run.status[~(good | shed)].tolist())
    seconds = max(run.wall, 1e-9)
    lag = run.lag if len(run) else np.zeros(1)
    n = max(len(run), 1)
    facts = Summary(
        scenario=scenario, rate=plan.rate, clients=plan.connections, rows_per_request=rows, seconds=run.wall, requests=len(run),
        good=int(good.sum()), shed=int(shed.sum()), achieved=float(good.sum()) / seconds,
        failed={_NAMES.get(status, str(status)): count for status, count in sorted(statuses.items())},
        latency=_percentiles(run.latency[good], {*limits, FIGURES.get(scenario, "")}, confidence),
        lag_p50=float(np.quantile(lag, 0.5)), lag_p99=float(np.quantile(lag, 0.99)), client_cpu=run.cpu / n,
        client_share=run.cpu / seconds, client_busy=1.0 - min(1.0, run.idle / seconds), crowded=run.crowded,
        sustained=_sustained(run, good | shed, plan, limits),
        limits=tuple(_limit(name, limit, latency, confidence) for name, limit in limits.items()),
    )  # fmt: skip
    facts = facts.model_copy(update={"late": _late(facts, limits)})
    advice = _advice(facts)
    return facts.model_copy(update={"verdict": "INVALID" if advice else "VALID", "advice": advice})


def _percentiles(latency: Floats, wanted: Collection[str], confidence: float) -> tuple[Measurement, ...]:
    names = [name for name, q in QUANTILES.items() if name in _ALWAYS or name in wanted or len(latency) >= required(q)]
    return tuple(measured(name, latency, confidence) for name in names)


def measured(name: str, latency: Floats, confidence: float = 0.95) -> Measurement:
    """Return one latency percentile of a sample (n,) [s], refused while the sample is too small."""
    found = percentile(latency, QUANTILES[name], confidence)
    facts = {"name": f"latency_{name}", "n": found.n, "unit": "s", "confidence": confidence, "low": found.low}
    if found.value is None:
        en = f"{name} needs at least {required(QUANTILES[name])} answers, {found.n} came: {found.missing} are missing"
        zh = f"{name} 至少需要 {required(QUANTILES[name])} 个应答，只有 {found.n} 个，还差 {found.missing} 个"
        return Measurement.model_validate(
            {**facts, "value": None, "validity": "refused", "remark": en, "remark_zh": zh}
        )
    return Measurement.model_validate({**facts, "value": found.value, "high": found.high})


def _limit(name: str, limit: float, latency: Floats, confidence: float) -> LimitVerdict:
    found = percentile(latency, QUANTILES[name], confidence)
    if found.low is not None and found.low > limit:
        return LimitVerdict(name=name, limit=limit, verdict="broken")
    sure = found.value is not None and found.high is not None and found.high <= limit
    return LimitVerdict(name=name, limit=limit, verdict="kept" if sure else "refused")


def _sustained(run: Run, answered: NDArray[np.bool_], plan: Plan, limits: Mapping[str, float]) -> bool:
    """Whether answers kept up with arrivals: few were shed, and no more were in flight at the end than a kept limit allows.

    By Little's law (1961) requests in flight are the rate times the latency. A closed loop cannot fall behind. Requests that
    failed (not ``answered``, bool (n,)) say nothing of it; they make the run invalid.
    """
    count = int(answered.sum())
    if plan.rate is None or not count:
        return True
    unfinished = int((run.done > float(run.intended[-1]))[answered].sum())
    allowed = _BEHIND * count + plan.rate * max(limits.values(), default=0.0) + 1
    return bool(run.good[answered].mean() >= 1.0 - _BEHIND and unfinished <= allowed)


def _advice(facts: Summary) -> tuple[Words, ...]:
    """Say why a run does not count and what to do; nothing when it does."""
    found = _failures(facts)
    if facts.good == 0:
        return (*found, *(_shed(facts) or (_NOTHING_CAME,)))
    found += _client(facts) + _shed(facts)
    open_still = {
        FIGURES.get(facts.scenario, "p50"),
        *(one.name for one in facts.limits if one.verdict != "broken"),
    }  # a few can prove a limit broken
    for one in facts.latency:
        name = one.name.removeprefix("latency_")
        if one.value is None and name in open_still:
            longer = np.ceil(facts.seconds * required(QUANTILES[name]) / max(one.n, 1))
            found.append(Words(
                zh=f"请求太少：{one.remark_zh}；--seconds 至少 {longer:.0f}",
                en=f"too few requests: {one.remark}; use --seconds {longer:.0f} or more",
            ))  # fmt: skip
    return tuple(found)


def _allowed_lag(facts: Summary, limits: Mapping[str, float]) -> float:
    typical = next((one.value for one in facts.latency if one.name == "latency_p50" and one.value), 0.0)
    return max(_LATE_LEAST, _LATE_SHARE * min(limits.values(), default=typical))


def _late(facts: Summary, limits: Mapping[str, float]) -> bool:
    """Whether the client, not the server, made the load other than it was meant to be.

    Late requests come in bursts and their waiting is in the latency, so a limit kept in spite of it is kept.
    """
    if facts.rate is None or facts.crowded or facts.lag_p99 <= _allowed_lag(facts, limits):
        return False
    return not limits or any(one.verdict != "kept" for one in facts.limits)


def _client(facts: Summary) -> list[Words]:
    """Say what the client could not do."""
    found = []
    if facts.late:
        late = f"{1000 * facts.lag_p99:.1f} ms"
        found.append(Words(
            zh=f"客户端跟不上：1 % 的请求晚发超过 {late}；让机器空下来、降低 --rate，或在另一台机器上发压",
            en=f"the client could not keep up: one request in a hundred was sent more than {late} late; "
            "quiet the machine, lower --rate, or send from another one",
        ))  # fmt: skip
    if facts.client_busy > _BUSY:
        share = f"{100 * facts.client_busy:.0f} %"
        found.append(Words(
            zh=f"客户端自己成了瓶颈（{share} 的时间没有空闲）：用 --rows-per-request 合并请求，或降低速率",
            en=f"the client itself was the bottleneck (busy {share} of the time): put more rows into one request with --rows-per-request, "
            "or lower the rate",
        ))  # fmt: skip
    return found


def _shed(facts: Summary) -> list[Words]:
    """Say that a closed loop without a limit was turned away: what it states then is of a load that nobody asked for.

    In an open loop the arrivals stay what they were, and with a limit the shed count as later than it.
    """
    if facts.rate is not None or facts.limits or facts.shed <= _BEHIND * facts.requests:
        return []
    return [Words(
        zh=f"{facts.requests} 次请求中有 {facts.shed} 次被拒（429/503），其余的说明不了这样的负载：减少 --clients，或查看服务的限流与排队上限",
        en=f"{facts.shed} of {facts.requests} requests were shed (429 or 503), and the others do not speak for this load: use fewer --clients, "
        "or see the server's rate limit and queue",
    )]  # fmt: skip


def _failures(facts: Summary) -> list[Words]:
    hints = {
        "refused": Words(zh="服务没有监听，或连接数超过上限", en="nobody listens there, or there are too many connections"),
        "closed": Words(zh="服务没有应答就关闭了连接；查看它的日志", en="the server closed connections without an answer; look at its log"),
        "timed out": Words(zh="应答超时；降低速率或调大 --timeout", en="no answer in time; lower the rate or raise --timeout"),
        "not HTTP": Words(zh="应答不是 HTTP/1.1", en="what came back is not HTTP/1.1"),
        "429": Words(
            zh="服务限制每个客户端每秒的请求数；用更大的 --rate 启动它，或不设",
            en="the server limits how often one client may ask; start it with a higher --rate, or without",
        ),
    }  # fmt: skip
    other = Words(zh="看看服务为何拒绝；用 curl 试一次", en="see why the server refuses; try one with curl")
    return [
        Words(
            zh=f"{count} 次请求失败（{name}）：{hints.get(name, other).zh}",
            en=f"{count} requests failed ({name}): {hints.get(name, other).en}",
        )
        for name, count in facts.failed.items()
    ]
