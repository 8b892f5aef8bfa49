"""``bakeoff load``: finds out what the target is, starts it where it is a bundle, and tests it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bakeoff.data.examples import Row
from bakeoff.delivery import rows as contract_rows
from bakeoff.delivery.rows import ContractRows
from bakeoff.evaluation.parity import allowed_drift, same_labels
from bakeoff.evaluation.starting import environment
from bakeoff.loadgen import bodies, null
from bakeoff.loadgen.client import address
from bakeoff.loadgen.gate import hold, limits_of
from bakeoff.loadgen.report import QUANTILES, LoadReport
from bakeoff.loadgen.session import Asked, Asking, Session, floor, remarks, save
from bakeoff.loadgen.talk import Described, base, describe
from bakeoff.schema.artifact import InputColumn, Rule
from bakeoff.schema.contract import Contract
from bakeoff.schema.errors import BundleError, UserError
from bakeoff.schema.units import parse_duration
from bakeoff.serving.model import artifacts, open_bundle

_STOP = 15.0
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_NULL = "null"
_SAME = (
    "target", "scenario", "rate", "seconds", "clients", "rows_per_request", "timeout", "seed", "model", "gate", "ca",
)  # fmt: skip
_PATHS = ("rows", "bodies", "bundle", "out")


@dataclass(frozen=True, kw_only=True)
class Wanted(Asking):
    """What the command line asked for.

    Args:
        target: URL, bundle folder, or ``null``; without ``limits`` its contract's hold.
        rows: data file to take rows from.
        bodies: file of bodies to post to the URL as they are.
        model: name of the model in the Open Inference Protocol.
        bundle: bundle behind the URL: its contract rows are sent and their labels compared.
        gate: hold the server to its contract.
        out: folder for the log and the report.

    """

    target: str
    rows: Path | None = None
    bodies: Path | None = None
    model: str | None = None
    bundle: Path | None = None
    gate: bool = False
    out: Path | None = None


@dataclass(frozen=True)
class _Running:
    """A server to be tested: where it is, and its process where it is ours."""

    url: str
    process: subprocess.Popen[str] | None = None


@dataclass(frozen=True)
class _Material:
    """What is sent: rows or finished bodies, where they come from, and the trial's labels where they are known."""

    source: str
    contents: Sequence[bytes]
    expected: _Trial | None = None


def wanted_of(arguments: Namespace) -> Wanted:
    """Read the flags of ``bakeoff load``.

    Raises:
        UserError: a limit or a header that is none.

    """
    given: dict[str, Any] = {name: getattr(arguments, name) for name in _SAME}
    given |= {name: Path(value) for name in _PATHS if (value := getattr(arguments, name)) is not None}
    limits = dict(_limit(one) for one in arguments.limits)
    return Wanted(**given, limits=limits, headers=[_header(one) for one in arguments.headers])


def _limit(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = None
    if name not in QUANTILES or not isinstance(seconds, float):
        what = "not a limit"
        raise UserError(
            what, where="--limit", got=text, allowed=[f"{one}=TIME" for one in QUANTILES], try_="--limit p95=50ms"
        )
    return name, seconds


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    value = value.strip()
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text(encoding="utf-8").strip()
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
            raise UserError(what, where=value[1:]) from None
    if not colon or not name.strip() or not (name + value).isprintable():
        what = "not a header"
        raise UserError(what, where="--header", got=name, try_="--header 'Authorization: Bearer KEY'")
    return name.strip(), value


def load(wanted: Wanted, say: Callable[[str], None] = lambda _: None) -> LoadReport:
    """Test a server under load.

    Raises:
        UserError: there is nothing at the target, or nothing to send it.
        BundleError: the bundle is altered or its server does not start.

    """
    if wanted.ca is not None and not wanted.target.startswith("https://"):
        what = "--ca is for https:// only; nothing else is encrypted"
        raise UserError(what, got=wanted.target)
    with _target(wanted) as running:
        described = _described(wanted, running.url)
        contract = described.contract
        limits = wanted.limits or limits_of(contract)
        if wanted.gate and contract is None:
            what = "a gate needs a contract, and the server does not tell one"
            raise UserError(what, where=running.url, try_="a server started from a bundle")
        asked = _asked(wanted, running.url, described, limits)
        material = _material(wanted, described, asked)
        session = Session(asked, material.contents)
        report = _tested(wanted, session, contract if wanted.gate else None, material, running, say)
    report = report.model_copy(update={"model": contract.candidate if contract else described.model})
    if wanted.out is not None:
        (wanted.out / "report.json").write_text(report.model_dump_json(indent=1), encoding="utf-8")
    return report


def _tested(
    wanted: Wanted,
    session: Session,
    contract: Contract | None,
    material: _Material,
    running: _Running,
    say: Callable[[str], None],
) -> LoadReport:
    before, gate, search = _used(running), None, None
    if contract is not None:
        gate, main, log = hold(session, contract, material.expected)
        lowest = floor(session.requests, main)
    else:
        tested = session.test(say)
        main, log, lowest, search = tested.summary, tested.log, tested.floor, tested.search
    after = _used(running)
    if wanted.out is not None:
        save(wanted.out, log)
    local = urlsplit(running.url).hostname in _LOCAL
    return LoadReport.model_validate({
        "target": wanted.target, "rows": material.source, "main": main, "floor": lowest, "search": search, "gate": gate,
        "server_cpu": (after[0] - before[0]) / max(session.sent, 1) if before and after else None,
        "server_memory": after[1] if after else None,
        "remarks": remarks(main, made_up=material.source == "made-up", local=local, tls=address(running.url).tls),
    })  # fmt: skip


def _asked(wanted: Wanted, url: str, described: Described, limits: Mapping[str, float]) -> Asked:
    path = urlsplit(url).path
    if path in {"", "/"} and wanted.bodies is None and wanted.target != _NULL:
        path = "/v1/predict" if described.ours else f"/v2/models/{described.model}/infer"
        url = base(url) + path
    shared = {one.name: getattr(wanted, one.name) for one in fields(Asking)} | {"limits": limits}
    if wanted.gate:  # latency is promised for one request at a time, whatever else was asked
        shared |= {"scenario": "single-stream", "rate": None, "rows_per_request": 1}
    return Asked(url=url, **shared)


def _described(wanted: Wanted, url: str) -> Described:
    if wanted.target == _NULL:
        return Described(None, None, (InputColumn(name="text", kind="text"),), ours=True)
    return describe(base(url), wanted.model, wanted.headers, wanted.ca)


def _material(wanted: Wanted, described: Described, asked: Asked) -> _Material:
    if wanted.bodies is not None:
        return _Material("bodies", bodies.given_bodies(wanted.bodies))
    folder = wanted.bundle or (Path(wanted.target) if _is_folder(wanted.target) else None)
    known = _contract_rows(folder) if folder is not None and wanted.rows is None else None
    if known is not None:
        rows, trial = known
        return _Material("contract", _written(rows, described, asked), trial if asked.size == 1 else None)
    inputs = described.inputs
    if inputs is None:
        what = "the server does not say what it reads"
        raise UserError(what, where=wanted.target, try_="--model NAME of the Open Inference Protocol, or --bodies FILE")
    if wanted.rows is not None:
        return _Material("file", _written(bodies.from_file(wanted.rows, inputs), described, asked))
    source = "null" if wanted.target == _NULL else "made-up"
    return _Material(source, _written(bodies.made_up(inputs, seed=asked.seed), described, asked))


def _written(rows: Sequence[Row], described: Described, asked: Asked) -> list[bytes]:
    if described.inputs is None or not asked.url.endswith("/infer"):
        return bodies.predict_bodies(rows, asked.size)
    return bodies.infer_bodies(rows, described.inputs, asked.size)


class _Trial:
    """What the trial answered to the contract rows, and which labels ``bakeoff verify`` takes for the same."""

    def __init__(self, rows: ContractRows, classes: Sequence[str], rule: Rule, allowed: float) -> None:
        self._rows, self._rule, self._allowed = rows, rule, allowed
        self._index = {label: index for index, label in enumerate(classes)}

    def __len__(self) -> int:
        return len(self._rows.expected)

    def same(self, request: int, label: str | None) -> bool:
        if label not in self._index:
            return False
        index, expected = self._index[label], self._rows.expected[request : request + 1]
        if index == expected[0]:
            return True
        table = self._rows.probabilities[request : request + 1]
        return bool(same_labels(np.array([index]), expected, table, self._rule, self._allowed)[0])


def _contract_rows(folder: Path) -> tuple[Sequence[Row], _Trial] | None:
    """Return the contract rows of a bundle and the trial's answers; None when it carries none."""
    opened = open_bundle(folder)
    path = opened.path(contract_rows.FILE)
    if path is None:
        return None
    classes = opened.manifest.classes
    known = contract_rows.read(path, classes, most=opened.contract.rows)
    return known.rows, _Trial(known, classes, opened.artifact.rule, allowed_drift(artifacts(opened)))


@contextmanager
def _target(wanted: Wanted) -> Iterator[_Running]:
    if wanted.target == _NULL:
        with null.started() as url:
            yield _Running(url)
    elif "://" in wanted.target:
        yield _Running(wanted.target)
    elif _is_folder(wanted.target):
        with _served(Path(wanted.target)) as running:
            yield running
    else:
        what = "neither a URL nor a bundle folder"
        raise UserError(what, got=wanted.target, allowed="http(s)://HOST:PORT, BUNDLE or null")


def _is_folder(target: str) -> bool:
    return "://" not in target and target != _NULL and Path(target).is_dir()


@contextmanager
def _served(bundle: Path) -> Iterator[_Running]:
    """Run the bundle's server in a process of its own, as its image does, on a free port."""
    threads = open_bundle(bundle).contract.threads
    command = [sys.executable, "-P", "-m", "bakeoff.serving", str(bundle.resolve()), "--port", "0"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(threads))
        try:
            assert process.stdout is not None  # noqa: S101 - opened as a pipe above
            url = process.stdout.readline().strip()
            if not url:
                errors.seek(0)
                what = f"the server does not start: {errors.read().strip()[-600:]}"
                raise BundleError(what, where=str(bundle))
            yield _Running(url, process)
        finally:
            process.terminate()
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _used(running: _Running) -> tuple[float, float] | None:
    """Return CPU seconds and resident bytes of our server and its children."""
    if running.process is None:
        return None
    import psutil

    try:
        parent = psutil.Process(running.process.pid)
        family = [parent, *parent.children(recursive=True)]
        cpu = sum(sum(one.cpu_times()[:2]) for one in family)
        return cpu, float(sum(one.memory_info().rss for one in family))
    except psutil.Error:
        return None
