"""What a ledger tells a tuner: scores at the largest share of rows, failures, limits; and earlier studies on one scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bakeoff import registry
from bakeoff.models.linear import PLUGIN as LINEAR
from bakeoff.schema import Candidate, Failure, Fidelity, Measurement, Profile, Spec, StepResult, Variant, content_key
from bakeoff.schema.space import Space, Told
from bakeoff.schema.spec import Requirements
from bakeoff.search.told import earlier, told, violations, warm_start
from bakeoff.search.tuning import propose, tuned_candidates, tuned_variant
from bakeoff.store.evidence import Evidence, StudyEvidence
from tests.contracts._cases import profile_of, spec_of

TEXT, TABLE = "text-classification", "tabular-classification"
ROWS = 400


def char(language: str = "zh") -> Variant:
    return next(v for v in LINEAR.variants(spec_of(TEXT), profile_of(TEXT, language=language)) if v.name == "char")


SPACE = LINEAR.space(char(), profile_of(TEXT))


class Ledger:
    """Rows as a run would leave them, scores as they are wished."""

    def __init__(self, task: str = TEXT, language: str = "zh", **spec: object) -> None:
        self.spec = Spec.model_validate(
            {**spec_of(task).model_dump(), "requirements": {"quality": {"metric": "accuracy"}}, **spec}
        )
        self.profile: Profile = profile_of(task, language=language)
        self.rows: list[Evidence] = []
        self.candidates: dict[str, Candidate] = {}

    def evidence(self) -> StudyEvidence:
        return StudyEvidence(self.spec, self.profile, tuple(self.candidates.values()), (), tuple(self.rows))

    def candidate(
        self, variant: Variant, family: str = "linear", runtime: str = "native", compression: str = "none"
    ) -> Candidate:
        made = Candidate(family=family, variant=variant, runtime=runtime, compression=compression, label=variant.label)
        return self.candidates.setdefault(made.id, made)

    def judged(
        self, candidate: Candidate, accuracy: float, *, seconds: float = 4.0, rows: int = ROWS, **fidelity: object
    ) -> None:
        actual = (np.arange(rows) % 2).astype(np.int16)
        wrong = np.arange(rows) >= round(accuracy * rows)
        predicted = np.where(wrong, 1 - actual, actual).astype(np.int16)
        table = np.eye(2, dtype=np.float32)[predicted]
        arrays = {
            "indices": np.arange(rows, dtype=np.int32),
            "predicted": predicted,
            "actual": actual,
            "probabilities": table,
        }
        self._add(candidate, "predict", arrays, cpu_seconds=seconds, fidelity=Fidelity.model_validate(fidelity))

    def measured(self, candidate: Candidate, *, probe: bool = True, **numbers: float) -> None:
        found = tuple(
            Measurement(name=name, value=1.1 * value, low=value, high=1.2 * value, n=100, unit="s")
            for name, value in numbers.items()
        )
        self._add(
            candidate, "time", {}, measurements=found, fidelity=Fidelity(fraction=0.0 if probe else 1.0, probe=probe)
        )

    def failed(self, candidate: Candidate, code: str, *, probe: bool = False, kind: str = "build") -> None:
        failure = Failure.model_validate({"code": code, "reason": "no"})
        self._add(candidate, kind, {}, status="failed", failure=failure, fidelity=Fidelity(fraction=0.5, probe=probe))

    def _add(self, candidate: Candidate, kind: str, arrays: dict[str, np.ndarray], **facts: object) -> None:
        fields = {
            "key": content_key(kind, len(self.rows)),
            "kind": kind,
            "name": kind,
            "candidate": candidate.id,
            "purpose": "rung",
            "data": "d",
            **facts,
        }
        self.rows.append(Evidence(StepResult.model_validate(fields), arrays))


def at(strength: float) -> Variant:
    return tuned_variant(char(), SPACE, {**SPACE.default, "C": strength})


def test_a_point_is_told_at_the_largest_share_of_the_rows_it_was_built_on() -> None:
    ledger = Ledger()
    listed, tuned = ledger.candidate(char()), ledger.candidate(at(16.0))
    ledger.judged(listed, 0.80, fraction=0.33)
    ledger.judged(listed, 0.90, fraction=1.0, seconds=8.0)
    ledger.judged(listed, 0.10, fraction=1.0, split="confirm")
    ledger.judged(listed, 0.20, fraction=1.0, seed=7)
    ledger.judged(listed, 0.30, fraction=0.0, probe=True)
    ledger.judged(tuned, 0.85, fraction=0.33)
    found = {known.params["C"]: known for known in told(ledger.evidence(), "linear", SPACE)}
    assert found == {
        4.0: Told(params=SPACE.default, value=0.9, seconds=8.0 / ROWS, fraction=1.0),
        16.0: Told(params={**SPACE.default, "C": 16.0}, value=0.85, seconds=4.0 / ROWS, fraction=0.33),
    }


def test_of_an_arm_s_paths_the_one_that_was_not_compressed_speaks() -> None:
    ledger = Ledger()
    ledger.judged(ledger.candidate(char(), compression="int8", runtime="onnxruntime"), 0.7)
    ledger.judged(ledger.candidate(char()), 0.9)
    ledger.judged(ledger.candidate(char(), compression="int8", runtime="onnxruntime"), 0.6, rows=ROWS + 2)
    assert [known.value for known in told(ledger.evidence(), "linear", SPACE)] == [0.9]


def test_what_could_not_be_built_is_told_what_was_interrupted_or_never_tried_is_not() -> None:
    ledger = Ledger()
    for strength, code in ((1.0, "crash"), (2.0, "interrupted"), (8.0, "disk")):
        ledger.failed(ledger.candidate(at(strength)), code)
    ledger.failed(ledger.candidate(at(32.0)), "memory", probe=True)
    ledger.candidate(at(16.0))
    found = told(ledger.evidence(), "linear", SPACE)
    assert sorted((known.params["C"], known.failed, known.value) for known in found) == [
        (1.0, True, None),
        (32.0, True, None),
    ]


def test_a_path_that_cannot_be_exported_is_no_reason_while_another_can_be_had() -> None:
    ledger = Ledger()
    native, exported = ledger.candidate(at(1.0)), ledger.candidate(at(1.0), runtime="onnxruntime")
    ledger.failed(exported, "parity", kind="export")
    assert told(ledger.evidence(), "linear", SPACE) == ()
    ledger.failed(native, "crash", kind="load")
    assert [known.failed for known in told(ledger.evidence(), "linear", SPACE)] == [True]


def test_a_point_that_its_probe_put_out_is_told_with_the_limit_it_breaks() -> None:
    """Else it would be proposed again and again: nobody ever judges it."""
    ledger = Ledger(requirements={"latency": {"p95": 0.01}})
    paths = [ledger.candidate(at(1.0)), ledger.candidate(at(1.0), runtime="onnxruntime")]
    ledger.measured(paths[0], latency_p95=0.05)
    assert told(ledger.evidence(), "linear", SPACE) == (), "the other path was not probed yet"
    ledger.measured(paths[1], latency_p95=0.02)
    (known,) = told(ledger.evidence(), "linear", SPACE)
    assert (known.value, known.failed, known.constraints) == (None, False, {"latency_p95": 0.6})
    assert known.params not in propose(SPACE, [known], "tpe", 0, 30)


def test_other_variants_and_families_are_no_points() -> None:
    ledger = Ledger()
    word = next(v for v in LINEAR.variants(spec_of(TEXT), profile_of(TEXT)) if v.name == "word")
    ledger.judged(ledger.candidate(word), 0.9)
    ledger.judged(ledger.candidate(char(), family="stranger"), 0.9)
    assert told(ledger.evidence(), "linear", SPACE) == ()


def test_another_judge_may_be_asked() -> None:
    ledger = Ledger()
    ledger.judged(ledger.candidate(char()), 0.9)
    assert told(ledger.evidence(), "linear", SPACE, judge=lambda seen: float(len(seen)))[0].value == ROWS


def test_limits_are_told_of_the_path_that_breaks_them_least() -> None:
    ledger = Ledger(requirements={"latency": {"p95": 0.01}, "memory": {"max": 100.0}})
    native, exported = ledger.candidate(char()), ledger.candidate(char(), runtime="onnxruntime")
    ledger.judged(native, 0.9)
    ledger.measured(native, latency_p95=0.05, memory=50.0)
    ledger.measured(exported, latency_p95=0.02, memory=50.0)
    assert told(ledger.evidence(), "linear", SPACE)[0].constraints == {"latency_p95": 0.6, "memory": -0.6}
    ledger.measured(
        exported, probe=False, latency_p95=0.02, memory=50.0
    )  # a finished one comes out no smaller than it is
    assert told(ledger.evidence(), "linear", SPACE)[0].constraints == {"latency_p95": 1.0, "memory": -0.5}


def test_violations_are_what_is_proven_as_a_share_of_the_limit_to_one_digit() -> None:
    limits = Requirements.model_validate(
        {"latency": {"p50": 0.005, "p95": 0.01, "p99": 1.0}, "size": {"max": 1000}, "throughput": {"min": 40}}
    )
    figures = {
        "latency_p50": Measurement(name="latency_p50", value=0.5, low=0.4, n=9, unit="s", validity="noisy"),
        "latency_p95": Measurement(name="latency_p95", value=0.03, low=0.012345, n=99, unit="s"),
        "latency_p99": Measurement(name="latency_p99", value=9.0, n=99, unit="s"),
        "size": Measurement(name="size", value=400.0, n=1, unit="B"),
        "throughput": Measurement(name="throughput", value=20.0, high=30.0, n=99, unit="1/s"),
    }
    assert violations(figures, limits) == {"latency_p95": 0.2, "size": -0.6, "throughput": 0.2}
    assert violations(figures, limits, 0.5)["latency_p95"] == -0.4


def study(scores: Sequence[tuple[float, float]], task: str = TEXT, language: str = "zh") -> StudyEvidence:
    ledger = Ledger(task, language)
    for strength, accuracy in scores:
        ledger.judged(ledger.candidate(at(strength)), accuracy)
    return ledger.evidence()


def test_an_easy_study_speaks_no_louder_than_a_hard_one() -> None:
    easy = [(0.5, 0.90), (2.0, 0.94), (8.0, 0.98)]
    hard = [(0.5, 0.60), (2.0, 0.64), (8.0, 0.68)]
    one = earlier([study(easy)], "linear", SPACE, task=TEXT, language="zh")
    two = earlier([study(hard)], "linear", SPACE, task=TEXT, language="zh")
    assert [known.params["C"] for known in one] == [8.0, 2.0, 0.5]
    assert [known.value for known in one] == pytest.approx([known.value for known in two])
    assert np.mean([known.value for known in one]) == pytest.approx(0.0)
    assert all(known.prior and known.constraints == {} for known in one)


def test_a_point_that_several_studies_tried_gets_its_mean() -> None:
    found = earlier(
        [study([(0.5, 0.9), (8.0, 0.8)]), study([(0.5, 0.5), (8.0, 0.6)])], "linear", SPACE, task=TEXT, language="zh"
    )
    assert [known.value for known in found] == pytest.approx([0.0, 0.0])


def test_studies_of_another_task_or_language_and_lonely_points_say_nothing() -> None:
    pair = [(0.5, 0.9), (8.0, 0.8)]
    others = [study(pair, TABLE), study(pair, language="en"), study([(0.5, 0.9)]), study([(0.5, 0.9), (8.0, 0.9)])]
    assert earlier(others, "linear", SPACE, task=TEXT, language="zh") == ()
    assert len(earlier([study(pair, language="en")], "linear", SPACE, task=TEXT, language="en")) == 2


def test_settings_on_other_weights_are_compared_among_themselves() -> None:
    """One encoder is simply better; what counts is which of its own settings was."""
    family = registry.plugin("models", "embedding_head")
    profile = profile_of(TEXT, language="en")
    small, large = (v for v in family.variants(spec_of(TEXT), profile) if v.name in {"e5-small", "minilm"})
    ledger = Ledger(language="en")
    for variant, level in ((small, 0.6), (large, 0.9)):
        space = family.space(variant, profile)
        for strength, gain in ((0.01, 0.0), (0.1, 0.04)):
            point = {**space.default, "C": strength, "strategy.max_length": 64}
            ledger.judged(ledger.candidate(tuned_variant(variant, space, point), family="embedding_head"), level + gain)
    found = earlier([ledger.evidence()], "embedding_head", family.space(small, profile), task=TEXT, language="en")
    assert {known.params["C"]: known.value for known in found} == pytest.approx({0.1: 1.0, 0.01: -1.0})


def test_a_warm_start_is_kept_by_arm_and_its_best_setting_is_tried_first() -> None:
    before = study([(0.5, 0.80), (2.0, 0.84), (8.0, 0.98)])
    now = Ledger()
    listed = [now.candidate(char()), now.candidate(char(), runtime="onnxruntime")]
    majority = registry.plugin("models", "baseline").variants(now.spec, now.profile)[0]
    now.candidate(majority, family="baseline")
    tuned = tuned_candidates(listed, at(3.0))
    kept = warm_start([before], now.spec, now.profile, [*now.candidates.values(), *tuned])
    assert set(kept) == {"linear.char"}
    first, second = propose(SPACE, kept["linear.char"], "tpe", 0, 2)
    assert first == SPACE.default
    assert second == {**SPACE.default, "C": 8.0}
    assert [Told.model_validate_json(known.model_dump_json()) for known in kept["linear.char"]] == list(
        kept["linear.char"]
    )


def test_the_order_of_the_ledger_s_rows_changes_nothing() -> None:
    evidence = study([(0.5, 0.80), (2.0, 0.84), (8.0, 0.98)])
    turned = StudyEvidence(evidence.spec, evidence.profile, evidence.candidates[::-1], (), evidence.results[::-1])
    assert told(turned, "linear", SPACE) == told(evidence, "linear", SPACE)
    assert Space.model_validate_json(SPACE.model_dump_json()) == SPACE
