"""A compressed candidate says what it gained over its own model, with both figures, and what limits it where that is little."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bakeoff.decision import decide
from bakeoff.decision.compressed import gained, why_slow
from bakeoff.decision.view import View
from bakeoff.schema.decision import Metric
from tests.decision.worlds import CHAR, ENVIRONMENT, Stack, candidate_of, make_world

PLAIN = Stack("encoder.e5.none.onnxruntime", 0.88, latency=0.010, simplicity=6)


def _reason(name: str, *stacks: Stack) -> tuple[str, str]:
    found = next(item for item in decide(make_world([CHAR, *stacks])).candidates if item.id == name)
    return found.reason.en, found.reason.zh


@pytest.mark.parametrize("latency", [0.004, 0.020])
def test_what_did_not_pay_is_told(latency: float) -> None:
    small = Stack("encoder.e5.dynamic_int8.onnxruntime", 0.87, latency=latency, simplicity=6)
    english, chinese = _reason(small.id, PLAIN, small)
    slower = latency > PLAIN.latency
    assert ("Compressing did not pay here" in english) == slower
    assert ("压缩在这里没有换来速度" in chinese) == slower
    assert ("Compressing made it" in english) != slower
    rates = re.findall(r"throughput is ([\d.]+) rows a second, that of the same model uncompressed ([\d.]+)\.", english)
    assert len(rates) == 1
    assert (float(rates[0][0]) < float(rates[0][1])) == slower


def test_the_fastest_uncompressed_form_is_what_counts() -> None:
    """A pass that only beats the model's slowest runtime has not made anything faster."""
    small = Stack("encoder.e5.static_int8.openvino", 0.87, latency=0.008, simplicity=6)
    other = Stack("encoder.e5.none.openvino", 0.88, latency=0.006, simplicity=6)
    assert "did not pay" not in _reason(small.id, PLAIN, small)[0]
    assert "did not pay" in _reason(small.id, PLAIN, other, small)[0]


def test_another_model_is_no_yardstick() -> None:
    small = Stack("encoder.minilm.dynamic_int8.onnxruntime", 0.87, latency=0.020, simplicity=6)
    assert "did not pay" not in _reason(small.id, PLAIN, small)[0]


@pytest.mark.parametrize(("latency", "told"), [(0.006, True), (0.002, False)])
def test_the_cause_is_told_where_the_gain_is_small(latency: float, *, told: bool) -> None:
    small = Stack("encoder.e5.static_int8.openvino", 0.87, latency=latency, simplicity=6)
    english, chinese = _reason(small.id, PLAIN, small)
    ratio = re.search(r"Compressing made it ([\d.]+) times as fast", english)
    assert ratio is not None
    assert float(ratio[1]) == pytest.approx(PLAIN.latency / latency, rel=0.1)
    assert ("no instructions that multiply int8 (none of avx512_vnni, avx_vnni, amx_int8)" in english) == told
    assert ("没有 int8 乘法指令" in chinese) == told


def test_the_processor_is_the_one_that_measured() -> None:
    """Flags come from the environment of the timed steps, not from the machine that decides."""
    small = Stack("encoder.e5.static_int8.openvino", 0.87, latency=0.006, simplicity=6)
    world = make_world([CHAR, PLAIN, small])
    able = ENVIRONMENT.model_copy(update={"isa": ("avx2", "avx512_vnni")})
    found = decide(replace(world, environments={"env": able}))
    english = next(item for item in found.candidates if item.id == small.id).reason.en
    assert "multiplies int8 (avx512_vnni), so the limit is elsewhere: tokenising and the rest" in english


@pytest.mark.parametrize(
    ("compression", "isa", "said"),
    [
        ("dynamic_int8", ("avx2", "avx_vnni"), "multiplies int8 (avx_vnni)"),
        ("bfloat16", ("amx_bf16", "avx2"), "multiplies bfloat16 (amx_bf16)"),
        ("bfloat16", ("avx2", "avx512_vnni"), "multiply bfloat16 (none of avx512_bf16, amx_bf16)"),
        ("static_int8", ("asimd",), "multiply int8 (none of asimddp, i8mm)"),
        ("static_int8", (), " Tokenising and the rest"),
        ("pruned", ("avx2",), " Tokenising and the rest"),
    ],
)
def test_every_pass_and_processor_has_its_cause(compression: str, isa: tuple[str, ...], said: str) -> None:
    assert said in why_slow(compression, isa).en


def test_without_a_rate_latencies_are_compared_and_without_both_nothing_is_said() -> None:
    plain, small = (
        View(candidate_of(Stack(name))) for name in ("encoder.e5.none.onnxruntime", "encoder.e5.static_int8.openvino")
    )
    figures = {
        plain.id: {"latency_p50": Metric(value=0.03, unit="s")},
        small.id: {"latency_p50": Metric(value=0.01, unit="s")},
    }
    assert "3.0 times as fast: p50 latency is 10 ms" in gained(small, [plain, small], figures).en
    assert not gained(small, [plain, small], {small.id: figures[small.id]}).en
    assert not gained(plain, [plain, small], figures).en
