"""Whether rows leave the premises: what the candidate declares, and what it was seen doing on the network."""

from __future__ import annotations

import ipaddress
import json
import sys
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from bakeoff.risk import _common as common
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.plugin import CheckTraits

_NAME = "data_leaves"
_TITLE = Words(zh="数据出域", en="Data leaving the premises")
_STANDARDS = (
    "NIST AI RMF MEASURE 2.10", "NIST AI RMF MANAGE 3.1", "PIPL Art. 23", "PIPL Art. 38", "PIPL Art. 55",
    "生成式人工智能服务管理暂行办法 第十一条", "OWASP ML Top 10 2023 ML06",
)  # fmt: skip
_ROWS = 3


class _Listener:
    """Counts connections to other hosts while it is on. Audit hooks cannot be removed, so there is one for the process."""

    def __init__(self) -> None:
        self.listening, self.hosts, self.installed = False, set[str](), False

    def __enter__(self) -> Self:
        if not self.installed:
            sys.addaudithook(self._heard)
            self.installed = True
        self.hosts.clear()
        self.listening = True
        return self

    def __exit__(self, *_: object) -> None:
        self.listening = False

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if (
            self.listening
            and event == "socket.connect"
            and isinstance(arguments[1], tuple)
            and not local(str(arguments[1][0]))
        ):
            self.hosts.add(str(arguments[1][0]))


_LISTENER = _Listener()


def local(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    if host in {"localhost", ""}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class DataLeaves:
    """Compares what leaves with what ``risk.data_may_leave`` allows."""

    traits = CheckTraits(label=_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Listen for connections while a few rows are predicted, unless the candidate already says that it sends them."""
        target = destination(context)
        if target is not None:
            return (_remote(context, target),)
        if context.classifier is None or not len(context.held_out):
            why = Words(
                zh="候选方案没有加载，无法观察。", en="The candidate was not loaded, so it could not be watched."
            )
            return (common.not_measured(context, _NAME, _TITLE, why, _WATCH, _STANDARDS),)
        rows = context.held_out.rows[:_ROWS]
        with _LISTENER as listener:
            context.classifier.predict(rows)
        return (_seen(context, len(rows), len(listener.hosts)),)


def destination(context: RiskContext) -> str | None:
    """Return the host rows are sent to, by declaration: the endpoint's, or '' when it is remote without saying where."""
    hosts = [urlsplit(url).hostname or "" for url in _urls(context)]
    outside = [host for host in hosts if host and not local(host)]
    if outside:
        return outside[0]
    return "" if context.candidate.variant.remote and not hosts else None


def _urls(context: RiskContext) -> list[str]:
    """Return the endpoints the candidate, or a member of it, is set up to call."""
    settings = [context.candidate.variant.params, context.artifact.meta]
    settings += [
        json.loads(path.read_text(encoding="utf-8")).get("meta", {})
        for path in sorted(context.directory.rglob("artifact.json"))
    ]
    return [str(found["url"]) for found in settings if isinstance(found.get("url"), str)]


def _remote(context: RiskContext, host: str) -> Finding:
    allowed, personal = context.spec.risk.data_may_leave, bool(context.profile.personal_data)
    where = Words(zh=host or "远程端点", en=host or "a remote endpoint")
    found = Measurement(name="rows_sent", value=1.0, n=1, unit="share", provenance="assumed",
                        remark="by the design of the candidate", remark_zh="由方案的设计决定")  # fmt: skip
    observed = Words(
        zh=f"每一条请求都会发送到 {where.zh}；规格书{'允许' if allowed else '不允许'}数据出域"
        + ("，且数据中检出个人信息。" if personal else "。"),
        en=f"Every request is sent to {where.en}; the specification {'allows' if allowed else 'forbids'} that"
        + (", and personal data was found in the rows." if personal else "."),
    )
    return common.report(
        context, _NAME, _TITLE, "warn" if allowed else "fail", observed=observed, likelihood=1.0,
        impact=5 if not allowed else 4 if personal else 2, measurements=(found,), standards=_STANDARDS,
        mitigation=Words(
            zh="发送前脱敏；签订数据处理协议，约定不留存、不用于训练；跨境时先做个人信息保护影响评估；或改用本地模型。",
            en="Mask before sending; agree with the provider that nothing is kept or trained on; assess the impact before data cross a "
            "border; or use a local model.",
        ),
        residual=Words(
            zh="对方的留存与二次使用无法由本框架验证，只能依靠合同与审计。",
            en="What the other side keeps or reuses cannot be verified here; only contracts and audits cover it.",
        ),
    )  # fmt: skip


def _seen(context: RiskContext, rows: int, hosts: int) -> Finding:
    found = Measurement(name="outside_connections", value=float(hosts), n=rows, unit="hosts")
    if hosts:
        observed = Words(
            zh=f"预测 {rows} 行时向 {hosts} 个外部主机发起了连接，而该方案声明为本地运行。",
            en=f"While predicting {rows} rows it connected to {hosts} outside hosts, although it is declared to be local.",
        )
        status, likelihood, impact = "fail", 1.0, 5
    else:
        observed = Words(
            zh=f"预测 {rows} 行期间没有任何对外网络连接；数据留在本机进程内。",
            en=f"No connection to another host while {rows} rows were predicted; rows stay in the process.",
        )
        status, likelihood, impact = "ok", 0.02, 3
    residual = Words(
        zh="只观察了 Python 层的连接；原生库的直接系统调用要靠部署时的网络策略来限制。",
        en="Connections made through Python were watched; a native library's own system calls need a network policy where it is deployed.",
    )
    return common.report(
        context, _NAME, _TITLE, status, observed=observed, likelihood=likelihood, impact=impact, measurements=(found,),
        standards=_STANDARDS, mitigation=_WATCH, residual=residual,
    )  # fmt: skip


_WATCH = Words(
    zh="部署时用网络策略禁止服务容器对外连接。",
    en="Deny the serving container outgoing connections with a network policy.",
)
PLUGIN = DataLeaves()
