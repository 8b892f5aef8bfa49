"""The words behind each line of a cost estimate: what it is and how it was computed, with its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

from bakeoff.economics.base import Usage
from bakeoff.economics.parts import Parts
from bakeoff.schema.base import Words
from bakeoff.schema.economics import LineName
from bakeoff.schema.measurement import Provenance
from bakeoff.schema.spec import Spec
from bakeoff.schema.units import SECONDS, say_seconds

_LABELS: dict[LineName, Words] = {
    "machines": Words(zh="机器", en="Machines"),
    "training": Words(zh="训练", en="Training"),
    "labels": Words(zh="标注", en="Labels"),
    "build": Words(zh="搭建人力", en="Build effort"),
    "upkeep": Words(zh="运维人力", en="Upkeep"),
    "tokens": Words(zh="按 token 计费", en="Tokens"),
    "retraining": Words(zh="再训练", en="Retraining"),
}


def label_of(name: LineName) -> Words:
    """Return a line's name in words."""
    return _LABELS[name]


def provenance_of(name: LineName, usage: Usage, middle: Parts) -> Provenance:
    """Return how far a line may be trusted: that of its least certain factor."""
    if name == "tokens":
        quoted = usage.endpoint is not None and usage.endpoint.input_price is not None
        return "quoted" if quoted and usage.endpoint and usage.endpoint.output_price is not None else "assumed"
    if name == "machines" and middle.deployment.machine.price.provenance == "quoted":
        return "predicted"
    return "assumed"


def basis(name: LineName, spec: Spec, usage: Usage, middle: Parts) -> Words:
    """Return how a line was computed, in one phrase with its numbers."""
    months = spec.traffic.horizon / SECONDS["month"]
    makers: dict[LineName, Callable[[], Words]] = {
        "machines": lambda: _machines(spec, usage, middle),
        "training": lambda: _training(spec, middle),
        "labels": lambda: _labels(usage),
        "build": lambda: _hours(float(middle.build_hours[0]), None, spec),
        "upkeep": lambda: _hours(float(middle.upkeep_hours[0]) / months, months, spec),
        "tokens": lambda: _tokens(spec, middle),
        "retraining": lambda: _retraining(spec, middle),
    }
    return makers[name]()


def _training(spec: Spec, middle: Parts) -> Words:
    seconds, price = float(middle.training_hours[0]) * 3600.0, float(middle.deployment.hourly[0])
    currency = spec.value.currency
    return Words(
        zh=f"训练一次 {say_seconds(seconds)} × 每小时 {price:.3g} {currency}",
        en=f"one training of {say_seconds(seconds)} × {price:.3g} {currency} an hour",
    )


def _labels(usage: Usage) -> Words:
    rows = usage.train_rows
    return Words(
        zh=f"{rows:,} 行标注已经有了，不再计价",
        en=f"the {rows:,} labelled rows exist already and are not priced again",
    )


def _tokens(spec: Spec, middle: Parts) -> Words:
    each, currency = float(middle.token_price[0]), spec.value.currency
    return Words(
        zh=f"{middle.requests:,.0f} 次请求 × 每次 {each:.3g} {currency}",
        en=f"{middle.requests:,.0f} requests × {each:.3g} {currency} each",
    )


def _machines(spec: Spec, usage: Usage, middle: Parts) -> Words:
    deployment, horizon = middle.deployment, spec.traffic.horizon / 3600.0
    count, price, label = (
        float(middle.machine_hours[0]) / horizon,
        float(deployment.hourly[0]),
        deployment.machine.label,
    )
    each, currency = float(deployment.capacity[0]), spec.value.currency
    zh, en = (
        f"{count:.3g} 台{label.zh} × 每小时 {price:.3g} {currency}",
        f"{count:.3g} × {label.en} at {price:.3g} {currency} an hour",
    )
    if math.isfinite(each):
        zh += f"，每台 {deployment.processes} 个进程、每秒 {_three(each)} 次，峰值每秒 {_three(spec.traffic.peak_rate)} 次"
        en += f", {deployment.processes} processes and {_three(each)} requests/s each, peak {_three(spec.traffic.peak_rate)}/s"
    elif usage.endpoint is None:
        zh, en = zh + "（吞吐尚未测量，按一台计）", en + " (throughput not measured; one is assumed)"
    if not deployment.fits:
        zh, en = zh + "；内存或核数其实放不下", en + "; it does not really fit its memory or cores"
    return Words(zh=zh, en=en)


def _three(value: float) -> str:
    """Round to three significant digits without an exponent."""
    return f"{float(f'{value:.3g}'):,.12g}"


def _hours(hours: float, months: float | None, spec: Spec) -> Words:
    rate, currency = spec.costs.people, spec.value.currency
    if months is None:
        return Words(
            zh=f"{hours:.3g} 小时 × 每小时 {rate:.4g} {currency}（工时为假设）",
            en=f"{hours:.3g} h × {rate:.4g} {currency} an hour (hours assumed)",
        )
    return Words(
        zh=f"每月 {hours:.3g} 小时 × {months:.3g} 个月 × 每小时 {rate:.4g} {currency}（工时为假设）",
        en=f"{hours:.3g} h a month × {months:.3g} months × {rate:.4g} {currency} an hour (hours assumed)",
    )


def _retraining(spec: Spec, middle: Parts) -> Words:
    if middle.retrainings == 0:
        return Words(zh="期内不需要再训练", en="no retraining within the horizon")
    labels, price = middle.refreshed_labels / middle.retrainings, spec.costs.label
    return Words(
        zh=f"{middle.retrainings} 次，每次新标 {labels:,.0f} 行 × {price:.3g} {spec.value.currency}，另加训练机时",
        en=f"{middle.retrainings} times, each with {labels:,.0f} new labels × {price:.3g} {spec.value.currency} and the machine time",
    )
