"""Re-tests a bundle: hashes before anything is parsed, then every row against the trial, then the contract on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from bakeoff.delivery import rows as contract_rows
from bakeoff.delivery.probe import Probed
from bakeoff.delivery.report import PromiseVerdict, VerifyReport, untold
from bakeoff.delivery.rows import ContractRows
from bakeoff.delivery.whole import WholeSeen
from bakeoff.evaluation.parity import allowed_drift, same_labels
from bakeoff.evaluation.percentiles import required
from bakeoff.evaluation.quality import measure_quality
from bakeoff.evaluation.starting import environment
from bakeoff.evaluation.timing import QUANTILES
from bakeoff.runtimes.keys import Keys
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Promise
from bakeoff.schema.errors import BundleError
from bakeoff.schema.measurement import Measurement
from bakeoff.serving.model import Opened, artifacts, open_bundle
from bakeoff.tasks.scoring import METRICS

_DEADLINE = 900.0
_LOOKS = 3
_LEAST = 440
_NOTHING = Words(zh="", en="")
_LATENCY = tuple(f"latency_{name}" for name in QUANTILES)


@dataclass(frozen=True)
class Seen:
    """What was measured here: answers by array name, and measurements by their name."""

    arrays: Mapping[str, NDArray[np.generic]]
    found: Mapping[str, Measurement]
    noisy: bool
    rows: ContractRows | None
    whole: WholeSeen | None = None


def verify(bundle: Path, *, quick: bool = False, keys: Keys | None = None) -> VerifyReport:
    """Check a bundle and re-test its contract on this machine.

    Args:
        bundle: folder written by ``ship``.
        quick: hashes, parity, quality, size and memory only; nothing is timed.
        keys: whom to trust and what to decrypt with; what the environment says when None.

    Raises:
        BundleError: not a bundle, altered, incomplete, not signed by whom it must be, no or a wrong key, or its model does not run here.

    """
    keys = keys or Keys.given()
    opened = open_bundle(bundle, keys)
    rows = _rows(opened)
    requests = 0 if quick or not rows else _requests(opened)
    seen = _probe(opened, rows, requests, keys)
    for look in range(1, _LOOKS):
        if not requests or not _open_question(opened, seen):
            break
        again = _probe(opened, rows, requests * 2**look, keys)
        seen = again if seen.noisy or not again.noisy else seen
    same, drift, allowed = _parity(opened, seen)
    judged = tuple(judge(promise, _measured(promise, opened, seen)) for promise in opened.contract.promises)
    return VerifyReport(
        candidate=opened.manifest.candidate,
        bundle=opened.version,
        files=len(opened.manifest.files),
        rows=len(rows) if rows else 0,
        same_labels=same,
        largest_drift=drift,
        allowed_drift=allowed,
        promises=judged,
        latency=tuple(seen.found[name] for name in _LATENCY if name in seen.found),
        p95_ratio=_ratio(opened, seen),
        noisy=seen.noisy,
        quick=quick,
        signature=opened.sealed.signature,
        encrypted=opened.memory is not None,
        whole=seen.whole,
        untold=untold(judged, seen.whole, rows=bool(rows)),
        kept=same == (len(rows) if rows else 0)
        and (drift or 0.0) <= allowed
        and (seen.whole is None or seen.whole.kept)
        and all(found.verdict != "broken" for found in judged),
    )


def judge(promise: Promise, here: Measurement) -> PromiseVerdict:
    """Say whether a promise is kept.

    A latency, memory or rate measured here is kept or broken when its whole interval says so; where the limit lies inside of the
    interval nothing is guessed. Quality is judged by its value: the rows are the trial's own, so sampling plays no part in
    whether what was delivered is what was decided on.
    """
    if here.value is None and promise.direction == "max" and here.low is not None and here.low > promise.limit:
        few = Words(zh=f"{here.n} 次请求已足以证明", en=f"{here.n} requests were enough to prove it")
        return _verdict(promise, here, "broken", few)
    if here.value is None:
        zh = f"：{here.remark_zh}" if here.remark_zh else ""
        return _verdict(promise, here, "refused", Words(zh=f"未能在本机测得{zh}", en=here.remark))
    sign = 1.0 if promise.direction == "min" else -1.0
    best, worst = (here.high, here.low) if promise.direction == "min" else (here.low, here.high)
    if promise.name in METRICS:
        best = worst = here.value
    best, worst = (here.value if bound is None else bound for bound in (best, worst))
    if sign * (worst - promise.limit) >= 0:
        return _verdict(promise, here, "kept", _NOTHING)
    if sign * (best - promise.limit) < 0:
        return _verdict(promise, here, "broken", _NOTHING)
    if here.validity == "noisy":
        reason = Words(
            zh="本机同时有其他负载，请在空闲时重测",
            en="other load was seen on this machine; verify again when it is quiet",
        )
    else:
        reason = Words(zh="限值落在置信区间之内", en="the limit lies inside the interval")
    return _verdict(promise, here, "refused", reason)


def _verdict(promise: Promise, here: Measurement, verdict: str, reason: Words) -> PromiseVerdict:
    return PromiseVerdict.model_validate({"promise": promise, "here": here, "verdict": verdict, "reason": reason})


def _rows(opened: Opened) -> ContractRows | None:
    path = opened.path(contract_rows.FILE)
    if path is None:
        if opened.contract.rows:
            what = "the contract speaks of rows that are not in the bundle"
            raise BundleError(what, where=str(opened.root))
        return None
    rows = contract_rows.read(path, opened.manifest.classes, most=opened.contract.rows)
    if len(rows) != opened.contract.rows:
        what = "the contract speaks of another number of rows"
        raise BundleError(what, where=str(opened.root), got=len(rows), allowed=str(opened.contract.rows))
    return rows


def _requests(opened: Opened) -> int:
    """Twice what the strictest promised percentile needs, and as many as a study's final makes in any case."""
    promised = {promise.name for promise in opened.contract.promises}
    return max(_LEAST, *(2 * required(QUANTILES[name]) for name in QUANTILES if f"latency_{name}" in promised), 0)


def _probe(opened: Opened, rows: ContractRows | None, requests: int, keys: Keys) -> Seen:
    """Run the model in a process of its own and read what it measured.

    Raises:
        BundleError: it fails, hangs or crashes; the last output is quoted.

    """
    with _nameless(opened) as out:
        command = [
            sys.executable,
            "-P",
            "-m",
            "bakeoff.delivery.probe",
            str(opened.root.resolve()),
            str(out.fileno()),
            "--expected",
            opened.sealed.sha256,
            "--requests",
            str(requests),
        ]
        variables = environment(opened.contract.threads) | keys.variables()
        try:
            done = subprocess.run(
                command, env=variables, capture_output=True, timeout=_DEADLINE, check=False, encoding="utf-8", errors="replace",
                pass_fds=(out.fileno(),),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            what = f"the model did not finish within {_DEADLINE:.0f} s"
            raise BundleError(what, where=str(opened.root)) from None
        if done.returncode != 0 or not out.seek(0, os.SEEK_END):
            what = f"the model does not run here (exit code {done.returncode}): {done.stderr.strip()[-600:]}"
            raise BundleError(what, where=str(opened.root), try_=f"pip install -r {opened.root}/requirements.txt")
        out.seek(0)
        with np.load(out, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    probed = Probed.model_validate_json(arrays.pop("probed").tobytes())
    return Seen(arrays, {found.name: found for found in probed.measurements}, probed.noisy, rows, probed.whole)


def _nameless(opened: Opened) -> IO[bytes]:
    """Return a file without a name; answers to encrypted rows stay in memory, as the rows do."""
    if opened.memory is None:
        return tempfile.TemporaryFile()
    return os.fdopen(os.memfd_create("bakeoff", os.MFD_CLOEXEC), "w+b")


def _open_question(opened: Opened, seen: Seen) -> bool:
    """Whether a promise about time can neither be called kept nor broken yet, although it was measured."""
    timed = (*_LATENCY, "throughput")
    judged = [
        judge(promise, _measured(promise, opened, seen))
        for promise in opened.contract.promises
        if promise.name in timed
    ]
    return any(found.verdict == "refused" and found.here.value is not None for found in judged)


def _parity(opened: Opened, seen: Seen) -> tuple[int, float | None, float]:
    """Return how many rows have the trial's label, how far a probability is from the trial's, and how far it may be."""
    allowed = allowed_drift(artifacts(opened))
    if not seen.rows:
        return 0, None, allowed
    rows, rule = seen.rows, opened.artifact.rule
    same = same_labels(seen.arrays["predicted"].astype(np.int64), rows.expected, rows.probabilities, rule, allowed)
    drift = np.abs(seen.arrays["probabilities"].astype(np.float64) - rows.probabilities).max()
    return int(same.sum()), float(drift), allowed


def _measured(promise: Promise, opened: Opened, seen: Seen) -> Measurement:
    name = promise.name
    if name in METRICS:
        return _quality(name, opened, seen)
    if name == "size":
        size = float(opened.artifact.size)
        return Measurement(name=name, value=size, low=size, high=size, n=1, unit="B")
    if name in seen.found:
        return seen.found[name]
    untimed = Words(zh="这种模式下不计时", en="not timed in this mode")
    return _refused(
        name,
        promise.unit,
        untimed if seen.rows else Words(zh="没有可用来测量的契约行", en="there are no contract rows to measure with"),
    )


def _quality(name: str, opened: Opened, seen: Seen) -> Measurement:
    rows = seen.rows
    if not rows:
        return _refused(name, "", Words(zh="交付包中没有契约行", en="there are no contract rows in the bundle"))
    predicted, shares = seen.arrays["predicted"].astype(np.int64), seen.arrays["probabilities"].astype(np.float64)
    positive = int(opened.manifest.provenance.get("positive") or 0)
    scores = measure_quality(rows.actual, predicted, shares, positive, opened.contract.confidence)
    absent = _refused(name, "", Words(zh="这些行上不测这个指标", en="this metric is not measured on these rows"))
    return next((found for found in scores if found.name == name), absent)


def _ratio(opened: Opened, seen: Seen) -> float | None:
    """Return the delivered p95 over the trial's; None when one of them was not measured."""
    trial = opened.manifest.provenance.get("trial", {}).get("latency_p95")
    here = seen.found.get("latency_p95")
    return here.value / trial if trial and here is not None and here.value is not None else None


def _refused(name: str, unit: str, remark: Words) -> Measurement:
    return Measurement(name=name, value=None, unit=unit, validity="refused", remark=remark.en, remark_zh=remark.zh)
