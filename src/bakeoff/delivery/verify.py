"""Re-tests a bundle: hashes before anything is parsed, then every row against the trial, then the contract on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.latency import QUANTILES, least, quantile_draws
from bakeoff.delivery import rows as contract_rows
from bakeoff.delivery.report import PromiseVerdict, VerifyReport
from bakeoff.delivery.rows import ContractRows
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Promise
from bakeoff.schema.errors import BundleError
from bakeoff.schema.measurement import Measurement
from bakeoff.serving.model import Opened, open_bundle
from bakeoff.tasks.scoring import METRICS, score, score_draws

_DRAWS = 1000
_TAIL = 2000
_DEADLINE = 900.0
_REPEATS = 3
_BUSY = 0.85
"""Below this share of processor seconds in wall seconds, something else was using the machine."""
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NOTHING = Words(zh="", en="")
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Seen:
    """What the probe measured: one array per name, latencies of all repetitions, and the rows they answer to."""

    arrays: Arrays
    rounds: tuple[NDArray[np.float64], ...]
    cpu: tuple[NDArray[np.float64], ...]
    rows: ContractRows | None
    threads: int

    @property
    def noisy(self) -> bool:
        """Whether the process got clearly less processor time than wall time passed."""
        wall, busy = sum(map(np.sum, self.rounds)), sum(map(np.sum, self.cpu))
        return bool(wall > 0 and busy / wall < _BUSY)


def verify(bundle: Path, *, quick: bool = False) -> VerifyReport:
    """Check a bundle and re-test its contract on this machine.

    Args:
        bundle: folder written by ``ship``.
        quick: hashes and parity only; nothing is timed.

    Raises:
        BundleError: not a bundle, altered, incomplete, or its model does not run here.

    """
    opened = open_bundle(bundle)
    rows = _rows(opened)
    seen = _probe(opened, rows, 0 if quick else _requests(opened))
    for _ in range(_REPEATS - 1):
        if quick or not _torn(opened, seen):
            break
        again = _probe(opened, rows, _requests(opened))
        seen = Seen(again.arrays, (*seen.rounds, *again.rounds), (*seen.cpu, *again.cpu), rows, seen.threads)
    same, drift = _parity(seen)
    latency = () if quick else tuple(_percentile(name, seen, opened) for name in QUANTILES)
    return VerifyReport(
        candidate=opened.manifest.candidate,
        bundle=opened.version,
        files=len(opened.manifest.files),
        rows=len(rows) if rows else 0,
        same_labels=same,
        largest_drift=drift,
        promises=tuple(_judge(promise, opened, seen, quick=quick) for promise in opened.contract.promises),
        latency=latency,
        p95_ratio=_ratio(opened, latency),
        noisy=seen.noisy,
        quick=quick,
    )


def _rows(opened: Opened) -> ContractRows | None:
    path = opened.root / contract_rows.FILE
    if not path.is_file():
        if opened.contract.rows:
            what = "the contract speaks of rows that are not in the bundle"
            raise BundleError(what, where=str(opened.root))
        return None
    rows = contract_rows.read(path, opened.manifest.classes)
    if len(rows) != opened.contract.rows:
        what = "the contract speaks of another number of rows"
        raise BundleError(what, where=str(opened.root), got=len(rows), allowed=str(opened.contract.rows))
    return rows


def _requests(opened: Opened) -> int:
    """Enough for every percentile the contract promises, and for the 95th in any case."""
    wanted = [QUANTILES[promise.name] for promise in opened.contract.promises if promise.name in QUANTILES]
    return max(200, *(2 * least(quantile) for quantile in [0.95, *wanted]))


def _probe(opened: Opened, rows: ContractRows | None, requests: int) -> Seen:
    """Run the model in a process of its own and read what it measured.

    Raises:
        BundleError: it fails, hangs or crashes; the last output is quoted.

    """
    threads = opened.contract.threads
    environment = {**os.environ, **dict.fromkeys(_POOLS, str(threads)), "TOKENIZERS_PARALLELISM": "false"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seen.npz"
        command = [
            sys.executable, "-m", "bakeoff.delivery.probe", str(opened.root), str(out),
            "--requests", str(requests), "--threads", str(threads),
        ]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and module
                command, env=environment, capture_output=True, timeout=_DEADLINE, check=False, text=True
            )
        except subprocess.TimeoutExpired:
            what = f"the model did not finish within {_DEADLINE:.0f} s"
            raise BundleError(what, where=str(opened.root)) from None
        if done.returncode != 0 or not out.is_file():
            what = f"the model does not run here (exit code {done.returncode}): {done.stderr.strip()[-600:]}"
            raise BundleError(what, where=str(opened.root), try_=f"pip install -r {opened.root}/requirements.txt")
        with np.load(out, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    timed = (arrays["latency"],) if requests and "latency" in arrays else ()
    busy = (arrays["cpu"],) if timed else ()
    return Seen(arrays, timed, busy, rows, threads)


def _torn(opened: Opened, seen: Seen) -> bool:
    """Whether a latency promise can neither be called kept nor broken yet."""
    judged = [_judge(promise, opened, seen, quick=False) for promise in opened.contract.promises if promise.name in QUANTILES]
    return any(found.verdict == "refused" and found.here.value is not None for found in judged)


def _parity(seen: Seen) -> tuple[int, float | None]:
    if not seen.rows:
        return 0, None
    same = int((seen.arrays["predicted"] == seen.rows.expected).sum())
    drift = np.abs(seen.arrays["probabilities"].astype(np.float64) - seen.rows.probabilities).max()
    return same, float(drift)


def _judge(promise: Promise, opened: Opened, seen: Seen, *, quick: bool) -> PromiseVerdict:
    here = _measured(promise, opened, seen, quick=quick)
    if here.value is None:
        reason = Words(zh="未能在本机测得", en=here.remark)
        return PromiseVerdict(promise=promise, here=here, verdict="refused", reason=reason)
    sign = 1.0 if promise.direction == "min" else -1.0
    slack = sign * (here.value - promise.limit)
    if promise.name in QUANTILES and here.low is not None and here.high is not None:
        return _judge_latency(promise, here, seen)
    return PromiseVerdict(promise=promise, here=here, verdict="kept" if slack >= 0 else "broken", reason=_NOTHING)


def _judge_latency(promise: Promise, here: Measurement, seen: Seen) -> PromiseVerdict:
    """A latency is kept or broken when its whole interval says so; in between it is not guessed."""
    assert here.low is not None  # noqa: S101 - the caller asked
    assert here.high is not None  # noqa: S101
    if here.high <= promise.limit:
        return PromiseVerdict(promise=promise, here=here, verdict="kept", reason=_NOTHING)
    if here.low > promise.limit and not seen.noisy:
        return PromiseVerdict(promise=promise, here=here, verdict="broken", reason=_NOTHING)
    if seen.noisy:
        reason = Words(zh="本机同时有其他负载，请在空闲时重测", en="other load was seen on this machine; verify again when it is quiet")
    else:
        reason = Words(zh="限值落在置信区间之内", en="the limit lies inside the interval")
    return PromiseVerdict(promise=promise, here=here, verdict="refused", reason=reason)


def _measured(promise: Promise, opened: Opened, seen: Seen, *, quick: bool) -> Measurement:
    name = promise.name
    if name in METRICS:
        return _quality(name, opened, seen)
    if name == "size":
        return _number(name, float(opened.artifact.size), "B")
    if name == "memory":
        return _number(name, float(seen.arrays["memory"]), "B")
    if name in QUANTILES and not quick:
        return _percentile(name, seen, opened)
    if name == "throughput" and seen.rounds:
        return _number(name, 1.0 / float(np.mean(np.concatenate(seen.rounds))), "1/s", "one request after another; no queue")
    return _refused(name, promise.unit, "not measured in this mode" if quick else "there are no contract rows to measure with")


def _quality(name: str, opened: Opened, seen: Seen) -> Measurement:
    rows = seen.rows
    if not rows:
        return _refused(name, "", "there are no contract rows in the bundle")
    predicted = seen.arrays["predicted"].astype(np.int64)
    shares = seen.arrays["probabilities"].astype(np.float64)
    positive = _positive(opened)
    value = score(name, rows.actual, predicted, shares, positive)
    weights = np.random.default_rng(0).dirichlet(np.ones(len(rows)), size=_DRAWS)
    drawn = score_draws(name, rows.actual, predicted, shares, positive, weights)
    low, high = _interval(drawn, opened.contract.confidence)
    return Measurement(
        name=name, value=value, low=min(low, value), high=max(high, value), n=len(rows), confidence=opened.contract.confidence
    )


def _positive(opened: Opened) -> int | None:
    """The positive class the trial was scored with: the named one, or the rarest."""
    label, counts = (opened.manifest.provenance.get(name) for name in ("positive", "class_counts"))
    if label in opened.manifest.classes:
        return opened.manifest.classes.index(label)
    if not counts:
        return None
    return min(range(len(counts)), key=lambda index: (counts[index], -index))


def _percentile(name: str, seen: Seen, opened: Opened) -> Measurement:
    quantile = QUANTILES[name]
    count = sum(len(part) for part in seen.rounds)
    if not count:
        return _refused(name, "s", "there are no contract rows to time")
    if count < least(quantile):
        return _refused(name, "s", f"{least(quantile) - count} more requests are needed for this percentile")
    value = float(np.quantile(np.concatenate(seen.rounds), quantile, method="inverted_cdf"))
    low, high = _interval(quantile_draws(list(seen.rounds), quantile, _TAIL, 0), opened.contract.confidence)
    return Measurement(
        name=name, value=value, low=min(low, value), high=max(high, value), n=count, unit="s",
        confidence=opened.contract.confidence, validity="noisy" if seen.noisy else "valid",
        remark="other load was seen on this machine" if seen.noisy else "",
    )  # fmt: skip


def _ratio(opened: Opened, latency: tuple[Measurement, ...]) -> float | None:
    """Return the delivered p95 over the trial's; None when the contract promises none or it could not be measured."""
    trial = next((promise.trial.value for promise in opened.contract.promises if promise.name == "latency_p95"), None)
    here = next((found.value for found in latency if found.name == "latency_p95"), None)
    return here / trial if trial and here is not None else None


def _interval(drawn: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _number(name: str, value: float, unit: str, remark: str = "") -> Measurement:
    return Measurement(name=name, value=value, n=1, unit=unit, remark=remark)


def _refused(name: str, unit: str, remark: str) -> Measurement:
    return Measurement(name=name, value=None, unit=unit, validity="refused", remark=remark)
