"""Says what compressing a model gained here, against the same model uncompressed in the same study, and what limits it on this processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bakeoff.decision.view import View
from bakeoff.schema.base import Words
from bakeoff.schema.decision import Metric
from bakeoff.schema.units import say_seconds

ENOUGH = 2.5
"""Times as fast: below it the reason is told."""
_TIMED = ("latency_p95", "latency_p50")
_NOTHING = Words(zh="", en="")
_NARROW = {
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"),
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
}
"""Flags of ``/proc/cpuinfo`` that say the processor multiplies these numbers faster than 32-bit ones."""


@dataclass(frozen=True)
class _Gain:
    """``ratio`` times as fast, of the figures ``mine`` and ``best`` as they are said, in both languages."""

    ratio: float
    mine: Words
    best: Words


def gained(view: View, views: Sequence[View], shown: Mapping[str, Mapping[str, Metric]]) -> Words:
    """Return a sentence on what compressing a candidate gained; empty where it is not compressed or was not measured beside its model.

    Args:
        view: the candidate.
        views: all of them; the fastest uncompressed one of the same arm is what compressing must beat.
        shown: figures by candidate and name.

    """
    if view.candidate.compression == "none":
        return _NOTHING
    arm = [one.id for one in views if one.candidate.arm == view.candidate.arm and one.candidate.compression == "none"]
    found = _rate(view.id, arm, shown) or _latency(view.id, arm, shown)
    if found is None:
        return _NOTHING
    why = why_slow(view.candidate.compression, view.isa) if found.ratio < ENOUGH else _NOTHING
    both = Words(
        zh=f"{found.mine.zh}，未压缩的同一模型为 {found.best.zh}",
        en=f"{found.mine.en}, that of the same model uncompressed {found.best.en}",
    )
    if found.ratio <= 1.0:
        return Words(
            zh=f"压缩在这里没有换来速度：{both.zh}。{why.zh}", en=f" Compressing did not pay here: {both.en}.{why.en}"
        )
    return Words(
        zh=f"压缩后速度为 {found.ratio:.1f} 倍：{both.zh}。{why.zh}",
        en=f" Compressing made it {found.ratio:.1f} times as fast: {both.en}.{why.en}",
    )


def why_slow(compression: str, isa: Sequence[str]) -> Words:
    """Return why narrower numbers gain no more on a processor.

    Args:
        compression: name of the pass; one of other numbers than int8 or bfloat16 gets the general reason.
        isa: flags of the processor, as an environment records them; empty: unknown.

    """
    kind = next((name for name in _NARROW if name in compression), None)
    rest = Words(zh="切分词元等其余计算保持原样。", en=" Tokenising and the rest of the computation stay as they are.")
    if kind is None or not isa:
        return rest
    there = ", ".join(flag for flag in _NARROW[kind] if flag in isa)
    if there:
        return Words(
            zh=f"处理器有 {kind} 乘法指令（{there}），限制不在这里：{rest.zh}",
            en=f" The processor multiplies {kind} ({there}), so the limit is elsewhere:{rest.en[0]}{rest.en[1:2].lower()}{rest.en[2:]}",
        )
    lacking = ", ".join(flag for flag in _NARROW[kind] if flag.startswith(("avx", "amx")) == ("avx2" in isa))
    return Words(
        zh=f"这个处理器没有 {kind} 乘法指令（{lacking} 均无），所以乘法本身不会变快多少。",
        en=f" This processor has no instructions that multiply {kind} (none of {lacking}), so the products themselves hardly get faster.",
    )


def _rate(name: str, plain: Sequence[str], shown: Mapping[str, Mapping[str, Metric]]) -> _Gain | None:
    mine = _value(shown, name, "throughput")
    best = max((value for one in plain if (value := _value(shown, one, "throughput")) is not None), default=None)
    if not mine or not best:
        return None
    return _Gain(
        mine / best,
        Words(zh=f"吞吐量为每秒 {mine:.3g} 行", en=f"throughput is {mine:.3g} rows a second"),
        Words(zh=f"每秒 {best:.3g} 行", en=f"{best:.3g}"),
    )


def _latency(name: str, plain: Sequence[str], shown: Mapping[str, Mapping[str, Metric]]) -> _Gain | None:
    for timed in _TIMED:
        mine = _value(shown, name, timed)
        best = min((value for one in plain if (value := _value(shown, one, timed)) is not None), default=None)
        if mine and best:
            point, said = timed.rpartition("_")[2], say_seconds(best)
            return _Gain(
                best / mine,
                Words(zh=f"{point} 延迟为 {say_seconds(mine)}", en=f"{point} latency is {say_seconds(mine)}"),
                Words(zh=said, en=said),
            )
    return None


def _value(shown: Mapping[str, Mapping[str, Metric]], name: str, metric: str) -> float | None:
    found = shown.get(name, {}).get(metric)
    return None if found is None else found.value
