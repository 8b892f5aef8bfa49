"""How the decision says names, numbers and money in Chinese and English."""

from __future__ import annotations

from bakeoff.schema.base import Words
from bakeoff.schema.units import say_bytes, say_seconds

METRIC_NAMES = {
    "accuracy": Words(zh="准确率", en="accuracy"),
    "macro_f1": Words(zh="宏平均 F1", en="macro F1"),
    "balanced_accuracy": Words(zh="平衡准确率", en="balanced accuracy"),
    "f1": Words(zh="F1", en="F1"),
    "roc_auc": Words(zh="ROC AUC", en="ROC AUC"),
    "latency_p50": Words(zh="p50 延迟", en="p50 latency"),
    "latency_p95": Words(zh="p95 延迟", en="p95 latency"),
    "latency_p99": Words(zh="p99 延迟", en="p99 latency"),
    "throughput": Words(zh="吞吐", en="throughput"),
    "memory": Words(zh="内存", en="memory"),
    "size": Words(zh="体积", en="size"),
    "cost": Words(zh="总成本", en="total cost"),
}
LIMIT_PATHS = {
    "floor": "requirements.quality.floor", "p50": "requirements.latency.p50", "p95": "requirements.latency.p95",
    "p99": "requirements.latency.p99", "throughput": "requirements.throughput.min", "memory": "requirements.memory.max",
    "size": "requirements.size.max",
}  # fmt: skip
UNITS = {
    "floor": "", "p50": "s", "p95": "s", "p99": "s", "throughput": "1/s", "memory": "B", "size": "B",
}  # fmt: skip
_DAY = 86400.0


def quote(label: Words) -> Words:
    """Return a candidate's label as it stands inside a sentence: marked in Chinese, plain in English."""
    return Words(zh=f"“{label.zh}”", en=label.en)


def inside(text: str) -> str:
    """Return an English label as it stands in the middle of a sentence: its first letter small unless it is a name."""
    first = text.split(" ", 1)[0]
    ordinary = first[:1].isupper() and first[1:].islower()
    return text[:1].lower() + text[1:] if ordinary else text


def opening(text: str) -> str:
    """Return an English phrase as it opens a sentence; p95 stays small."""
    return text if text[:1] == "p" and text[1:2].isdigit() else text[:1].upper() + text[1:]


def number(value: float) -> str:
    """Return a share or score with three decimals, four when it needs them."""
    return f"{value:.3f}" if abs(value - round(value, 3)) < 2e-4 else f"{value:.4f}"


def percent(value: float) -> str:
    """Return a probability as a person says it: 97%, 99.6%, never a flat 100 or 0 unless it is one."""
    if value >= 1.0:
        return "100%"
    if value > 0.995:
        return f"{min(value, 0.999):.1%}"
    return "0%" if value <= 0.0 else f"{max(value, 0.001):.1%}" if value < 0.01 else f"{value:.0%}"


def chance(value: float) -> str:
    """Return a probability estimated from draws: no draw against it is no certainty, so 1 reads as over 99.9 %."""
    return ">99.9%" if value > 0.999 else "<0.1%" if value < 0.001 else percent(value)


def spaced(label: str) -> str:
    """Return a Chinese label ready for Chinese text to follow: a blank after Latin letters and digits."""
    return f"{label} " if label[-1:].isascii() else label


def figure(name: str, value: float) -> str:
    """Return a measured figure with its unit."""
    if name.startswith("latency") or name in {"p50", "p95", "p99", "train_seconds"}:
        return say_seconds(value)
    if name in {"memory", "size"}:
        return say_bytes(value)
    if name == "throughput":
        return f"{_amount(value)}/s"
    return number(value)


def money(value: float, currency: str) -> Words:
    """Return an amount: three significant digits are all a range of prices can carry."""
    text = _amount(value)
    return Words(zh=f"{text} 元" if currency == "CNY" else f"{text} {currency}", en=f"{currency} {text}")


def rate(value: float) -> Words:
    """Return a request rate per second, or per day where that is easier to read."""
    if value >= 10:
        return Words(zh=f"每秒 {_amount(value)} 次", en=f"{_amount(value)}/s")
    a_day = _amount(value * _DAY)
    return Words(zh=f"每天 {a_day} 次", en=f"{a_day} a day")


def _amount(value: float) -> str:
    """Round to three significant digits and group thousands."""
    if value == 0:
        return "0"
    magnitude = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    if magnitude == 0:
        return f"{value:.3g}".replace("-", "−")
    return f"{round(value, 3 - magnitude):,.{max(0, 3 - magnitude) if magnitude < 3 else 0}f}".replace("-", "−")
