"""The load generator itself: what it costs, what it adds to a latency, and whether it finds a rate that is known.

Everything is measured on the null server. Cost: CPU seconds of the client per request, 32 in flight, beside wrk where it is installed,
interleaved rounds. Truth: on a server that takes a known time for each request, one after another, the latency at half load is held
against queueing theory (M/D/1, Pollaczek and Khinchine) and the highest rate found against Lindley's recursion on the service times measured
in the same run.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys

import numpy as np

from bakeoff.evaluation.load import predicted_rate
from bakeoff.loadgen import null
from bakeoff.loadgen.client import Run, address, request, run
from bakeoff.loadgen.engine import Plan
from bakeoff.loadgen.session import Asked, Session
from benchmarks import finish, spread

ROUNDS, SECONDS, CLIENTS = 5, 2.0, 32
SERVICE = 0.005
LIMIT = {"p95": 0.03}


def main() -> int:
    """Measure, print."""
    with null.started() as url:
        cost = compared(url)
        single = _run(url, seconds=SECONDS, connections=1)
        spread_out = _run(url, seconds=SECONDS, connections=512, rate=500.0)
    floor = {
        "closed": {"p50_us": _us(single, 0.5), "p99_us": _us(single, 0.99), "n": len(single)},
        "open": {"p50_us": _us(spread_out, 0.5), "p99_us": _us(spread_out, 0.99), "n": len(spread_out)},
        "late_us": {"p50": round(1e6 * float(np.quantile(spread_out.lag, 0.5)), 1), "p99": round(1e6 * float(np.quantile(spread_out.lag, 0.99)), 1)},
    }  # fmt: skip
    print(f"added to a latency: closed {floor['closed']}, open {floor['open']}, sent late {floor['late_us']}")
    with null.started("--service", str(SERVICE)) as url:
        truth = held_against_theory(url)
    finish("load", cost_us=cost, floor=floor, truth=truth)
    return 0


def compared(url: str) -> dict[str, dict[str, float]]:
    """Return the client's CPU microseconds per request, ours and wrk's, of interleaved rounds."""
    wrk = shutil.which("wrk")
    found: dict[str, list[float]] = {"ours": [], **({"wrk": []} if wrk else {})}
    for _ in range(ROUNDS):
        log = _run(url, seconds=SECONDS, connections=CLIENTS)
        found["ours"].append(1e6 * log.cpu / len(log))
        if wrk:
            found["wrk"].append(1e6 * _wrk(wrk, url))
    shown = {name: spread(values) for name, values in found.items()}
    print("client CPU per request [µs]: " + ", ".join(f"{name} {one['median']}" for name, one in shown.items()))
    return shown


def held_against_theory(url: str) -> dict[str, float]:
    """Return measured over predicted: mean latency at half load, and the highest rate that keeps the limit."""
    service = _run(url, seconds=SECONDS, connections=1).latency
    mean = float(service.mean())
    half = _run(url, seconds=10.0, connections=512, rate=0.5 / mean)
    utilisation = len(half) / float(half.intended[-1]) * mean
    expected = mean * (1.0 + utilisation / (2.0 * (1.0 - utilisation)))
    search = Session(Asked(url=url, limits=LIMIT, seconds=10.0), [b"{}"]).test().search
    assert search is not None
    predicted, rate = predicted_rate(service, LIMIT), search.rate
    print(
        f"service {1000 * mean:.2f} ms; mean latency at half load {1000 * half.latency.mean():.2f} ms, M/D/1 says {1000 * expected:.2f}"
    )
    print(f"highest rate that keeps p95 ≤ 30 ms: {rate.value} [{rate.low}, {rate.high}], Lindley says {predicted:.1f}")
    return {
        "service_ms": round(1000 * mean, 3), "latency_ratio": round(float(half.latency.mean()) / expected, 3), "n": float(len(half)),
        "rate": round(rate.value or 0.0, 1), "rate_high": round(rate.high or 0.0, 1), "rate_predicted": round(predicted, 1),
        "rate_ratio": round((rate.value or 0.0) / predicted, 3), "runs": float(len(search.probes)),
    }  # fmt: skip


def _run(url: str, *, seconds: float, connections: int, rate: float | None = None) -> Run:
    plan = Plan(**address(url)._asdict(), rate=rate, connections=connections, seconds=seconds)
    log = run(plan, [request(url, method="GET")])
    assert log.good.all()
    return log


def _wrk(wrk: str, url: str) -> float:
    """Return wrk's CPU seconds per request, its start included: it takes a millisecond."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [wrk, "-t1", f"-c{CLIENTS}", f"-d{SECONDS:.0f}", url], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    count = next(int(line.split()[0]) for line in done.stdout.splitlines() if "requests in" in line)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count


def _us(log: Run, q: float) -> float:
    return round(1e6 * float(np.quantile(log.latency, q)), 1)


if __name__ == "__main__":
    sys.exit(main())
