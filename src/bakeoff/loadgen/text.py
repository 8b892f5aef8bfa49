"""A load report for people: the verdict first, then what was asked, then what may be believed of it."""

from __future__ import annotations

from bakeoff.loadgen.report import Clause, Floor, Gate, LoadReport, Search, Summary
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Measurement

_SIGNS = {"kept": "✓", "broken": "✗", "refused": "?"}
_KEPT = {
    "kept": Words(zh="守住", en="kept"),
    "broken": Words(zh="打破", en="broken"),
    "refused": Words(zh="无法判定", en="cannot be told"),
}
_NOTHING = Words(zh="", en="")
_VERDICT = {"VALID": Words(zh="有效", en="VALID"), "INVALID": Words(zh="无效", en="INVALID")}


def text(report: LoadReport, language: str = "en") -> str:
    """Return the report in a few lines."""
    said = [*_head(report), *_summary(report.main)]
    if report.search is not None:
        said += _search(report.search)
    said.append(_floor(report.floor))
    if report.server_cpu is not None and report.server_memory is not None:
        cpu, memory = f"{1e6 * report.server_cpu:.0f} µs", f"{report.server_memory / 2**20:.0f} MiB"
        said.append(
            Words(
                zh=f"服务端：每次请求 {cpu} CPU，常驻内存 {memory}",
                en=f"server: {cpu} of CPU per request, {memory} resident",
            )
        )
    if report.gate is not None:
        said += _gate(report.gate)
    said += report.remarks
    return "\n".join(words.said(language) for words in said)


def seconds(value: float | None) -> str:
    """Write a time with three digits."""
    if value is None:
        return "–"
    if value >= 1.0:
        return f"{value:.3g} s"
    return f"{1000 * value:.3g} ms" if value >= 0.001 else f"{1e6 * value:.3g} µs"


def _head(report: LoadReport) -> list[Words]:
    main = report.main
    verdict = _VERDICT[main.verdict]
    rate = f", {main.rate:.4g}/s" if main.rate is not None else ""
    but = _not_kept(main)
    head = Words(
        zh=f"{verdict.zh}{but.zh}：{report.target}（{main.scenario}{rate}）",
        en=f"{verdict.en}{but.en}: {report.target} ({main.scenario}{rate})",
    )
    return [head, *(Words(zh=f"  → {one.zh}", en=f"  → {one.en}") for one in main.advice)]


def _not_kept(main: Summary) -> Words:
    """Say beside the verdict, which is on the measurement, that what was measured is not what was asked of the server."""
    broken = ", ".join(one.name for one in main.limits if one.verdict == "broken")
    if main.late:  # then that says nothing of the server
        return _NOTHING
    if broken:
        return Words(zh=f"，打破上限（{broken}）", en=f", limit broken ({broken})")
    return _NOTHING if main.sustained else Words(zh="，队列在变长", en=", the queue grew")


def _summary(main: Summary) -> list[Words]:
    rows = main.achieved * main.rows_per_request
    many = (
        Words(zh=f"（每秒 {rows:.4g} 行）", en=f" ({rows:.4g} rows/s)")
        if main.rows_per_request > 1
        else Words(zh="", en="")
    )
    shed = (
        Words(zh=f"，{main.shed} 次被拒（429/503）", en=f", {main.shed} shed (429/503)")
        if main.shed
        else Words(zh="", en="")
    )
    lines = [Words(
        zh=f"{main.requests} 次请求，{main.good} 次成功{shed.zh}；每秒 {main.achieved:.4g} 次应答{many.zh}",
        en=f"{main.requests} requests, {main.good} good{shed.en}; {main.achieved:.4g} answers/s{many.en}",
    )]  # fmt: skip
    lines += [_percentile(one) for one in main.latency]
    lines += [
        Words(
            zh=f"{_SIGNS[one.verdict]} {one.name} ≤ {seconds(one.limit)}：{_KEPT[one.verdict].zh}",
            en=f"{_SIGNS[one.verdict]} {one.name} ≤ {seconds(one.limit)}: {_KEPT[one.verdict].en}",
        )
        for one in main.limits
    ]
    if not main.sustained:
        lines.append(
            Words(zh="✗ 应答跟不上到达，队列在变长", en="✗ answers did not keep up with arrivals: the queue grew")
        )
    if main.rate is not None:
        p50, p99 = seconds(main.lag_p50), seconds(main.lag_p99)
        lines.append(Words(zh=f"客户端晚发：p50 {p50}，p99 {p99}", en=f"sent late by the client: p50 {p50}, p99 {p99}"))
    return lines


def _percentile(one: Measurement) -> Words:
    name = one.name.removeprefix("latency_")
    if one.value is None:
        return Words(zh=f"  {name}：{one.remark_words.zh}", en=f"  {name}: {one.remark_words.en}")
    span = f"{seconds(one.value)} [{seconds(one.low)}, {seconds(one.high)}] (n = {one.n})"
    return Words(zh=f"  {name} {span}", en=f"  {name} {span}")


def _search(search: Search) -> list[Words]:
    rate = search.rate
    if rate.value is None:
        return [
            Words(
                zh=f"最高速率：未能确定；{rate.remark_words.zh}", en=f"highest rate: not found; {rate.remark_words.en}"
            )
        ]
    high = "–" if rate.high is None else f"{rate.high:.4g}"
    span = f"{rate.value:.4g}/s [{rate.low:.4g}, {high}]"
    return [
        Words(
            zh=f"守住上限的最高速率：{span}；{rate.remark_words.zh}",
            en=f"highest rate that keeps the limits: {span}; {rate.remark_words.en}",
        )
    ]


def _floor(floor: Floor) -> Words:
    p50, p99, cpu = seconds(floor.p50), seconds(floor.p99), f"{1e6 * floor.client_cpu:.0f} µs"
    how = Words(zh="逐个发送", en="one at a time")
    if floor.rate is not None:
        how = Words(zh=f"每秒 {floor.rate:.4g} 次", en=f"{floor.rate:.4g}/s")
    return Words(
        zh=f"客户端自身（空服务，{floor.requests} 次请求，{how.zh}）：p50 {p50}，p99 {p99}，每次请求 {cpu} CPU",
        en=f"the client itself (null server, {floor.requests} requests, {how.en}): p50 {p50}, p99 {p99}, {cpu} of CPU per request",
    )


def _gate(gate: Gate) -> list[Words]:
    head = Words(zh="契约门：通过", en="contract gate: passed")
    if not gate.passed:
        head = Words(zh="契约门：无法判定", en="contract gate: not passed, this run cannot tell")
    if gate.broken:
        head = Words(zh="契约门：不通过", en="contract gate: not passed")
    lines = [head, *(_clause(one) for one in gate.clauses)]
    if gate.rows:
        same = f"{gate.same_labels}/{gate.rows}"
        left = gate.rows_in_all - gate.rows
        rest = Words(zh=f"（另有 {left} 行未比较）", en=f" ({left} more were not compared)") if left > 0 else _NOTHING
        lines.append(
            Words(zh=f"契约行标签一致：{same}{rest.zh}", en=f"contract rows with the trial's label: {same}{rest.en}")
        )
    return lines + [Words(zh=f"  → {one.zh}", en=f"  → {one.en}") for one in gate.reasons]


def _clause(one: Clause) -> Words:
    sign = "≥" if one.name == "throughput" else "≤"
    limit, here = (
        (f"{one.limit:.4g}/s", f"{one.here.value:.4g}/s" if one.here.value is not None else "–")
        if one.name == "throughput"
        else (seconds(one.limit), seconds(one.here.value))
    )
    head = f"{_SIGNS[one.verdict]} {one.name} {sign} {limit}"
    return Words(zh=f"{head}：{here}（{_KEPT[one.verdict].zh}）", en=f"{head}: {here} ({_KEPT[one.verdict].en})")
