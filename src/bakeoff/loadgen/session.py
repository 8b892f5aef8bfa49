"""One load test from beginning to end: warm up, find the rate or run the one asked for, then measure the client itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bakeoff.evaluation.percentiles import required
from bakeoff.loadgen import null
from bakeoff.loadgen.client import Run, address, request, run
from bakeoff.loadgen.engine import Plan
from bakeoff.loadgen.judging import SHED, measured, summarise
from bakeoff.loadgen.report import MLPERF_SECONDS, QUANTILES, Floor, Scenario, Search, Summary
from bakeoff.loadgen.search import highest_rate
from bakeoff.loadgen.text import seconds
from bakeoff.schema.base import Words
from bakeoff.schema.errors import UserError

ROWS = {"multi-stream": 8, "offline": 256}
"""Rows of one request: eight as in MLPerf's MultiStream; Offline hands over everything at once, here in large pieces."""
SECONDS = 10.0
"""Length of the run that counts, where none is asked for."""
_CONNECTIONS = 512
_IN_FLIGHT = {"closed": 32, "single-stream": 1, "multi-stream": 1, "offline": 2}
_WARM = Plan(host="", port=0, connections=4, seconds=0.5, count=200)
_CAPACITY_SECONDS = 2.0
_FLOOR_SECONDS = 0.5
_FLOOR_RATES = (500.0, 1000.0)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What the user wants to know, whatever the target.

    Args:
        scenario: MLPerf's name; None: server where a limit is known, closed otherwise.
        rate: requests per second; None to find the highest that keeps the limits.
        seconds: length of the run that counts.
        clients: requests in flight of a closed loop.
        limits: percentile name → limit in seconds.
        rows_per_request: how many rows each body has.
        timeout: seconds after which an answer is given up.
        headers: more header fields.
        ca: PEM file of the authorities to trust in place of the system's, for HTTPS.
        seed: of the arrivals.

    """

    scenario: Scenario | None = None
    rate: float | None = None
    seconds: float = SECONDS
    clients: int | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    rows_per_request: int | None = None
    timeout: float = 30.0
    headers: Sequence[tuple[str, str]] = ()
    ca: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "seconds", "clients", "rows_per_request", "timeout"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                what = f"--{name.replace('_', '-')} must be more than 0"
                raise UserError(what, got=value)
        if self.rate is not None and self.scenario not in {None, "server"}:
            what = "--rate belongs to the server scenario: a closed loop has no rate of its own"
            raise UserError(what, got=self.scenario, allowed="--scenario server")

    @property
    def named(self) -> Scenario:
        """The scenario, chosen where it was not given."""
        if self.scenario is None:
            return "server" if self.rate or (self.limits and not self.clients) else "closed"
        return self.scenario

    @property
    def size(self) -> int:
        """Rows per request."""
        return self.rows_per_request or ROWS.get(self.named, 1)


@dataclass(frozen=True, kw_only=True)
class Asked(Asking):
    """The same of one server; ``url`` is where requests go, path included."""

    url: str


@dataclass(frozen=True)
class Tested:
    """What came of it; ``log`` is the run that ``summary`` judges."""

    summary: Summary
    log: Run
    floor: Floor
    search: Search | None


class Session:
    """Sends prebuilt bodies to one URL.

    Args:
        asked: what the user wants to know.
        bodies: what is sent, in random order.

    """

    def __init__(self, asked: Asked, bodies: Sequence[bytes]) -> None:
        self.asked = asked
        self.requests = [request(asked.url, body, headers=asked.headers) for body in bodies]
        self.sent = 0
        self._where = {**address(asked.url)._asdict(), "ca": asked.ca}

    def warm_up(self) -> None:
        """Send a little that is not counted, until caches and pools have settled."""
        self.run(dataclasses.replace(_WARM, **self._where, timeout=self.asked.timeout))

    def run(self, plan: Plan) -> Run:
        """Run a plan on the server."""
        log = run(plan, self.requests)
        self.sent += len(log)
        return log

    def plan(self, *, rate: float | None, seconds: float, clients: int | None = None, seed: int = 0) -> Plan:
        """Return a plan for this server; without a rate a closed loop."""
        in_flight = clients or self.asked.clients or _IN_FLIGHT.get(self.asked.named, _IN_FLIGHT["closed"])
        return Plan(
            **self._where, rate=rate, connections=_CONNECTIONS if rate else in_flight,
            seconds=seconds, timeout=self.asked.timeout, seed=self.asked.seed + seed,
        )  # fmt: skip

    def send(
        self, plan: Plan, scenario: Scenario, limits: Mapping[str, float], polite: Collection[int] = SHED
    ) -> tuple[Summary, Run]:
        """Run a plan and judge it; ``polite``: statuses that count as shed."""
        log = self.run(plan)
        return summarise(log, plan, scenario, limits, rows=self.asked.size, polite=polite), log

    def test(self, say: Callable[[str], None] = lambda _: None) -> Tested:
        """Do what was asked; ``say`` hears what goes on."""
        self.warm_up()
        asked, search = self.asked, None
        if asked.named == "server" and asked.rate is None:
            summary, log, search = self._search(say)
        else:
            say(f"{asked.named}: {asked.seconds:g} s")
            plan = self.plan(rate=asked.rate if asked.named == "server" else None, seconds=asked.seconds)
            summary, log = self.send(plan, asked.named, asked.limits)
        return Tested(summary, log, floor(self.requests, summary, seed=asked.seed), search)

    def _search(self, say: Callable[[str], None]) -> tuple[Summary, Run, Search]:
        limits, length = self.asked.limits, self.asked.seconds
        if not limits:
            what = "without a latency limit there is no highest rate to find"
            raise UserError(what, try_="--limit p95=50ms, or --rate 100, or --scenario closed")
        closed, _ = self.send(self.plan(rate=None, seconds=min(_CAPACITY_SECONDS, length)), "closed", {})
        say(f"closed loop: {closed.achieved:.0f} requests/s")
        runs: dict[int, tuple[Summary, Run]] = {}

        def attempt(rate: float, duration: float, seed: int) -> Summary:
            seen, _ = runs[seed] = self.send(self.plan(rate=rate, seconds=duration, seed=seed), "server", limits)
            say(f"{rate:.4g} requests/s for {duration:.1f} s: {_seen(seen)}")
            return seen

        if not closed.good:
            return *self.send(self.plan(rate=1.0, seconds=min(1.0, length)), "server", limits), _none(closed)
        search, best = highest_rate(attempt, closed.achieved, limits, length)
        shown = next((one for one in runs.values() if one[0] is best), runs[max(runs)])
        return *shown, search


def floor(requests: Sequence[bytes], summary: Summary, *, seed: int = 0) -> Floor:
    """Measure the client on a server that does nothing, with the same requests.

    After a closed loop one at a time, because many at once would wait for each other in the client, which they do not while a server
    computes; after an open loop at its rate, as far as that lies between what takes half a second and what any client keeps up with.
    """
    with null.started() as url:
        rate = None if summary.rate is None else min(max(summary.rate, _FLOOR_RATES[0]), _FLOOR_RATES[1])
        plan = Plan(
            **address(url)._asdict(), rate=rate, connections=summary.clients if rate else 1, seed=seed,
            seconds=_FLOOR_SECONDS if rate is None else 1.1 * max(_FLOOR_SECONDS, required(QUANTILES["p99"]) / rate),
        )  # fmt: skip
        log = run(plan, requests)
    values = {name: measured(name, log.latency[log.good]).value for name in ("p50", "p99")}
    return Floor(
        requests=len(log), rate=rate, p50=values["p50"] or 0.0, p99=values["p99"], client_cpu=log.cpu / max(len(log), 1),
    )  # fmt: skip


def remarks(summary: Summary, *, made_up: bool, local: bool, tls: bool) -> tuple[Words, ...]:
    """Say what a reader must know before believing the numbers."""
    found = []
    if made_up:
        found.append(Words(
            zh="请求是编造的：真实请求的长度和内容不同，用 --rows FILE 换成你的数据",
            en="the requests are made up: real ones differ in length and content; send your own with --rows FILE",
        ))  # fmt: skip
    if summary.seconds < MLPERF_SECONDS:
        least, here = f"{MLPERF_SECONDS:.0f}", f"{summary.seconds:.0f}"
        found.append(Words(
            zh=f"共 {here} 秒；MLPerf 要求至少 {least} 秒，短测看不到散热降频和内存慢增长",
            en=f"{here} s in all; MLPerf asks for {least} s, and a short run sees neither a throttled clock nor slowly growing memory",
        ))  # fmt: skip
    if summary.shed and summary.verdict == "VALID":
        count = f"{summary.shed}/{summary.requests}"
        found.append(Words(
            zh=f"{count} 次请求被拒（429/503）：百分位只说其余的请求，对上限则算作太晚；降低速率或增加副本",
            en=f"{count} requests were shed (429 or 503): the percentiles speak of the others, against a limit they count as too late; "
            "lower the rate or add replicas",
        ))  # fmt: skip
    if local:
        share = f"{100 * summary.client_share:.0f} %"
        found.append(Words(
            zh=f"服务与客户端在同一台机器上：客户端用了一个核心的 {share}，网络不在其中",
            en=f"server and client share this machine: the client used {share} of a core, and no network is in the numbers",
        ))  # fmt: skip
    if tls:
        found.append(Words(
            zh="“客户端自身（空服务）”是用不加密的 HTTP 测的：TLS 在客户端花的时间算在服务头上",
            en="the client itself (null server) was measured over plain HTTP: what TLS costs the client counts as the server's",
        ))  # fmt: skip
    return tuple(found)


def save(folder: Path, log: Run) -> Path:
    """Write the log of a run as ``requests.npz``: one entry a request, times in seconds from the start."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "requests.npz"
    arrays = {name: getattr(log, name) for name in ("request", "intended", "sent", "done", "status", "digest")}
    np.savez_compressed(path, **arrays)
    return path


def _seen(summary: Summary) -> str:
    if summary.late:
        return "the client was late"
    values = {one.name.removeprefix("latency_"): one.value for one in summary.latency}
    limits = [f"{one.name} {seconds(values.get(one.name))} (limit {seconds(one.limit)})" for one in summary.limits]
    return ", ".join([*limits, *([] if summary.sustained else ["the queue grew"])])


def _none(closed: Summary) -> Search:
    from bakeoff.schema.measurement import Measurement

    what = Words(zh="没有应答，谈不上速率", en="no request was answered, so there is no rate")
    return Search(
        rate=Measurement(name="throughput", value=None, unit="1/s", validity="refused", n=closed.requests, remark=what.en, remark_zh=what.zh),
        probes=(),
    )  # fmt: skip
