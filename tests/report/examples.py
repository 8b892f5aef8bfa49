"""Decisions to render: one per outcome, one crowded, one hostile. Numbers are test data, shaped like a real study's."""

# ruff: noqa: E501 - sentences in two languages stay in one piece

from __future__ import annotations

import random
from typing import Any

from bakeoff.schema import (
    Advice,
    CandidateVerdict,
    ColumnProfile,
    ConstraintVerdict,
    CostEstimate,
    CostLine,
    CurvePoint,
    Decision,
    DecisionProvenance,
    Environment,
    Finding,
    Flip,
    LearningCurve,
    Measurement,
    Metric,
    PersonalDataCount,
    Profile,
    RaceExit,
    RaceLook,
    Recommended,
    Relaxation,
    RunSummary,
    Split,
    Unavailable,
    Words,
)

CHAR = "linear.char.none.native"
E5 = "encoder.e5-small.none.pytorch"
E5_INT8 = "encoder.e5-small.dynamic_int8.onnxruntime"
QWEN = "llm_prompt.qwen05b-zero.none.llama_cpp"


def words(zh: str, en: str) -> Words:
    """Return both languages."""
    return Words(zh=zh, en=en)


def quality(value: float, half: float, n: int = 1496, verdict: str = "meets", **more: Any) -> Metric:
    """Return a macro-F1 with a symmetric interval."""
    return Metric(
        value=value,
        low=value - half,
        high=value + half,
        n=n,
        unit="share",
        verdict=verdict,
        **more,  # type: ignore[arg-type]
    )


def number(value: float, unit: str, n: int, verdict: str = "not_required", spread: float = 0.06, **more: Any) -> Metric:
    """Return a metric whose interval is a share of its value."""
    return Metric(
        value=value,
        low=value * (1 - spread),
        high=value * (1 + spread),
        n=n,
        unit=unit,
        verdict=verdict,
        **more,  # type: ignore[arg-type]
    )


def metrics(
    score: float, half: float, p95: float, memory: float, size: float, rate: float, *, n: int = 1496
) -> dict[str, Metric]:
    """Return the usual metrics of a measured candidate against the usual limits."""
    return {
        "macro_f1": quality(
            score, half, n, "meets" if score - half > 0.8 else "unproven" if score > 0.82 else "misses"
        ),
        "latency_p50": number(p95 * 0.7, "s", 600),
        "latency_p95": number(p95, "s", 600, "meets" if p95 < 0.05 else "misses"),
        "latency_p99": Metric(
            value=None,
            n=300,
            unit="s",
            validity="refused",
            verdict="refused",
            remark="p99 needs 459 requests; 300 measured, 159 missing",
        ),
        "throughput": number(rate, "1/s", 3, "meets" if rate > 40 else "misses"),
        "memory": number(memory, "B", 3, "meets" if memory < 2**30 else "misses", 0.01),
        "size": Metric(value=size, n=1, unit="B", verdict="meets" if size < 3e8 else "misses"),
    }


def cost(
    candidate: str, machines: float, training: float, build: float, *, net: float | None = 121_000.0
) -> CostEstimate:
    """Return a total over a year with four lines."""
    lines = (
        CostLine(
            name="machines", label=words("机器", "Machines"), value=machines, low=machines * 0.9, high=machines * 1.3, provenance="quoted",
            basis=words("1 台 × 0.19 CNY/h × 8,766 h", "1 machine × 0.19 CNY/h × 8,766 h"),
        ),
        CostLine(
            name="training", label=words("训练", "Training"), value=training, low=training * 0.8, high=training * 1.5, provenance="measured",
            basis=words("2 次 × 实测训练时间 × 0.19 CNY/h", "2 builds × measured training time × 0.19 CNY/h"),
        ),
        CostLine(
            name="labels", label=words("标注", "Labels"), value=760.0, low=600.0, high=900.0, provenance="assumed",
            basis=words("1,520 行 × 0.5 CNY", "1,520 rows × 0.5 CNY"),
        ),
        CostLine(
            name="build", label=words("工程", "Engineering"), value=build, low=build * 0.6, high=build * 1.8, provenance="assumed",
            basis=words("人时 × 300 CNY/h", "hours of people × 300 CNY/h"),
        ),
    )  # fmt: skip
    total = sum(line.value for line in lines)
    return CostEstimate(
        candidate=candidate, currency="CNY", horizon_months=12.0, lines=lines, total=total,
        low=sum(line.low for line in lines), high=sum(line.high for line in lines), per_1000=total / 73_050,
        replicas=1, capacity=812.0, utilisation=0.031, value=None if net is None else net + total, net=net,
        net_low=None if net is None else net - 4_000, net_high=None if net is None else net + 3_500, book_date="2026-10-01",
    )  # fmt: skip


def candidates() -> tuple[CandidateVerdict, ...]:
    """Return a leaderboard with every status a measured candidate can have."""
    return (
        CandidateVerdict(
            id=CHAR, label=words("字符 TF-IDF + 逻辑回归", "Character TF-IDF + logistic regression"), family="linear", status="winner",
            reason=words("净值最高，且满足全部要求", "Highest net value among the stacks that meet every requirement"), fraction=1.0,
            stage="final", p_best=0.964, p_feasible=0.999, regret=41.0, metrics=metrics(0.8453, 0.0182, 0.00092, 138e6, 4.1e6, 812.0),
            cost=cost(CHAR, 1_665.0, 0.4, 2_400.0), pareto=True, simplicity=1,
        ),
        CandidateVerdict(
            id=E5, label=words("微调 multilingual-e5-small（PyTorch）", "Fine-tuned multilingual-e5-small (PyTorch)"), family="encoder",
            status="within_indifference", fraction=1.0, stage="final", p_best=0.031, p_feasible=0.93, regret=2_310.0,
            reason=words("质量高 0.004，在 0.005 的无差别区间内；每年贵 4,980 CNY", "0.004 better, inside the 0.005 that does not matter; 4,980 CNY a year dearer"),
            metrics=metrics(0.8492, 0.0178, 0.0214, 812e6, 471e6, 61.0), cost=cost(E5, 3_330.0, 21.0, 5_700.0, net=118_700.0), pareto=True,
            simplicity=6,
        ),
        CandidateVerdict(
            id=E5_INT8, label=words("微调 multilingual-e5-small · 动态 int8（ONNX Runtime）", "Fine-tuned multilingual-e5-small · dynamic int8 (ONNX Runtime)"),
            family="encoder", status="dominated", fraction=1.0, stage="final", p_best=0.005, p_feasible=0.61, regret=3_020.0,
            reason=words("比字符 TF-IDF 慢 9 倍、每年贵 3,100 CNY，质量还低 0.009", "9 times slower and 3,100 CNY a year dearer than character TF-IDF, and 0.009 worse"),
            metrics=metrics(0.8361, 0.0186, 0.0083, 402e6, 118e6, 148.0), cost=cost(E5_INT8, 1_665.0, 21.0, 5_700.0, net=117_400.0), simplicity=7,
        ),
        CandidateVerdict(
            id=QWEN, label=words("Qwen2.5-Coder-0.5B 零样本（llama.cpp）", "Qwen2.5-Coder-0.5B zero-shot (llama.cpp)"), family="llm_prompt",
            status="infeasible", fraction=0.0, stage="probe", p_best=0.0, p_feasible=0.0,
            reason=words("p95 延迟 310 ms，超过 50 ms 的上限", "p95 latency 310 ms breaks the 50 ms limit"),
            metrics=metrics(0.8194, 0.031, 0.310, 655e6, 398e6, 3.4, n=480), cost=cost(QWEN, 23_310.0, 0.0, 3_000.0, net=96_000.0), simplicity=5,
        ),
        CandidateVerdict(
            id="embedding_head.wordllama.none.native", label=words("静态词向量 WordLlama + 逻辑回归", "Static WordLlama embeddings + logistic regression"),
            family="embedding_head", status="infeasible", fraction=0.25, stage="rung 0", p_best=0.0, p_feasible=0.01,
            reason=words("macro-F1 0.741，低于 0.82 的下限", "macro-F1 0.741 is below the floor of 0.82"),
            metrics=metrics(0.741, 0.024, 0.0011, 210e6, 66e6, 705.0, n=1200), simplicity=2,
        ),
        CandidateVerdict(
            id="linear.word.none.native", label=words("分词 TF-IDF + 逻辑回归", "Word TF-IDF + logistic regression"), family="linear",
            status="eliminated", fraction=0.25, stage="rung 1", p_best=0.012, p_feasible=0.7,
            reason=words("在 25 % 训练数据上被淘汰，P(最优) < 0.05", "Eliminated at 25 % of the training rows with P(best) < 0.05"),
            metrics={"macro_f1": quality(0.801, 0.022, 1200, "unproven"), "latency_p95": number(0.0012, "s", 120, "meets", validity="noisy", remark="machine was busy: rounds differ by 18 %")},
            simplicity=1,
        ),
        CandidateVerdict(
            id="baseline.majority.none.native", label=words("多数类基线", "Majority baseline"), family="baseline", status="infeasible",
            fraction=1.0, stage="rung 0", p_best=0.0, p_feasible=0.0, reason=words("macro-F1 0.334，低于 0.82 的下限", "macro-F1 0.334 is below the floor of 0.82"),
            metrics=metrics(0.334, 0.004, 0.00004, 61e6, 412.0, 9_800.0), simplicity=0,
        ),
        CandidateVerdict(
            id="ensemble.soft-vote.none.composite", label=words("软投票：字符 TF-IDF + e5-small", "Soft vote: character TF-IDF + e5-small"),
            family="ensemble", status="not_reached", reason=words("预算用完：剩余 31 s，需要约 140 s", "Out of budget: 31 s left, about 140 s needed"),
            metrics={"macro_f1": Metric(value=0.857, low=0.83, high=0.88, n=0, unit="share", provenance="predicted", remark="from its members' scores on select")},
            simplicity=8,
        ),
        CandidateVerdict(
            id="embedding_head.minilm.none.onnxruntime", label=words("冻结 MiniLM + 逻辑回归（ONNX Runtime）", "Frozen MiniLM + logistic regression (ONNX Runtime)"),
            family="embedding_head", status="failed", stage="rung 0", simplicity=4,
            reason=words("进程被 SIGKILL 结束：内存超过 6 GiB", "The process was killed by SIGKILL: memory above 6 GiB"),
        ),
    )  # fmt: skip


def unavailable() -> tuple[Unavailable, ...]:
    """Return stacks that need a hub or an endpoint."""
    return (
        Unavailable(
            id="encoder.bert-base-chinese.none.pytorch", label=words("微调 bert-base-chinese", "Fine-tuned bert-base-chinese"),
            reason=words("本机没有权重，模型库不可达", "No weights here, and no model hub can be reached"),
            command="bakeoff assets fetch hub:google-bert/bert-base-chinese",
        ),
        Unavailable(
            id="llm_prompt.qwen3-4b-zero.none.llama_cpp", label=words("Qwen3-4B 零样本", "Qwen3-4B zero-shot"),
            reason=words("本机没有权重，模型库不可达", "No weights here, and no model hub can be reached"),
            command="bakeoff assets fetch hub:Qwen/Qwen3-4B-GGUF",
        ),
        Unavailable(
            id="llm_prompt.endpoint.none.openai_api", label=words("OpenAI 兼容接口", "OpenAI-compatible endpoint"),
            reason=words("规格中没有声明接口，且数据不得外传", "The specification names no endpoint, and rows may not leave"), command=None,
        ),
    )  # fmt: skip


def limit(
    name: str, label: Words, bound: float, unit: str, direction: str, metric: Metric, p_meets: float, text: Words
) -> ConstraintVerdict:
    """Return one judged limit."""
    return ConstraintVerdict(
        name=name, label=label, limit=bound, unit=unit, direction=direction, metric=metric, verdict=metric.verdict,  # type: ignore[arg-type]
        p_meets=p_meets, text=text,
    )  # fmt: skip


def constraints(found: dict[str, Metric]) -> tuple[ConstraintVerdict, ...]:
    """Return the five limits of the demo, judged on ``found``."""
    return (
        limit("macro_f1", words("macro-F1 下限", "macro-F1 floor"), 0.82, "share", "min", found["macro_f1"], 0.996,
              words("95 % 区间下端 0.827 高于下限 0.82", "The lower end of the 95 % interval, 0.827, is above the floor of 0.82")),
        limit("latency_p95", words("p95 延迟上限", "p95 latency limit"), 0.05, "s", "max", found["latency_p95"], 1.0,
              words("不到上限的五十分之一", "Less than a fiftieth of the limit")),
        limit("throughput", words("吞吐下限", "Throughput floor"), 40.0, "1/s", "min", found["throughput"], 1.0,
              words("一个进程就够二十倍峰值", "One process sustains twenty times the peak")),
        limit("memory", words("内存上限", "Memory limit"), float(2**30), "B", "max", found["memory"], 1.0,
              words("占上限的 13 %", "13 % of the limit")),
        limit("size", words("体积上限", "Size limit"), 3e8, "B", "max", found["size"], 1.0, words("占上限的 1 %", "1 % of the limit")),
    )  # fmt: skip


def risks() -> tuple[Finding, ...]:
    """Return one finding per status and level."""
    return (
        Finding(
            check="robustness", title=words("错别字与形近字", "Typos and homoglyphs"), status="warn", level="high", likelihood=0.6, impact=3,
            observed=words("10 % 的字被替换时 macro-F1 从 0.845 降到 0.771", "With 10 % of the characters replaced, macro-F1 falls from 0.845 to 0.771"),
            mitigation=words("训练时加入噪声增强；上线后监控输入的未登录字比例", "Add noise while training; watch the share of unseen characters in production"),
            residual=words("约 0.03 的下降留下", "A drop of about 0.03 remains"), candidate=CHAR, standards=("NIST AI RMF MEASURE 2.7", "GB/T 42888-2023"),
            measurements=(Measurement(name="macro_f1_noisy", value=0.771, low=0.751, high=0.791, n=1496, unit="share"),),
        ),
        Finding(
            check="personal_data", title=words("训练行里的个人信息", "Personal data in training rows"), status="warn", level="medium", likelihood=0.3, impact=4,
            observed=words("38 行含手机号，11 行含邮箱", "38 rows carry phone numbers, 11 carry e-mail addresses"),
            mitigation=words("按规格脱敏后训练（personal_data: mask）", "Masked before training, as the specification says (personal_data: mask)"),
            residual=words("正则认不出的姓名可能留下", "Names no pattern recognises may remain"), standards=("PIPL Art. 51", "GB/T 35273-2020 6.2"),
        ),
        Finding(
            check="calibration", title=words("概率校准", "Calibration"), status="ok", level="low", likelihood=0.1, impact=2,
            observed=words("期望校准误差 0.021", "Expected calibration error 0.021"), mitigation=words("已做温度缩放", "Temperature scaled already"),
            residual=words("无", "None"), candidate=CHAR, standards=("NIST AI RMF MEASURE 2.5",),
            measurements=(Measurement(name="ece", value=0.021, low=0.014, high=0.031, n=1496, unit="share"),),
        ),
        Finding(
            check="membership", title=words("成员推断", "Membership inference"), status="not_measured", level="medium", likelihood=0.2, impact=3,
            observed=words("预算内未测", "Not measured within the budget"), mitigation=words("用 rigorous 预设重跑", "Run again with the rigorous preset"),
            residual=words("未知", "Unknown"), candidate=CHAR,
        ),
        Finding(
            check="subgroups", title=words("分组差距", "Subgroup gaps"), status="not_applicable", observed=words("数据没有分组列", "The data has no group column"),
            mitigation=words("无需", "None needed"), residual=words("无", "None"), candidate=CHAR,
        ),
    )  # fmt: skip


def flip(
    premise: str,
    label: Words,
    today: float,
    at: float,
    unit: str,
    to: str | None,
    to_label: Words,
    provenance: str = "predicted",
) -> Flip:
    """Return a flip point with its factor worked out."""
    up = at > today
    way_zh, way_en = ("升到", "rises to") if up else ("降到", "falls to")
    return Flip(
        premise=premise, label=label, today=today, flips_at=at, direction="up" if up else "down", factor=at / today if up else today / at,
        unit=unit, to=to, to_label=to_label, provenance=provenance,  # type: ignore[arg-type]
        text=words(f"{label.zh}{way_zh}翻转点时改选{to_label.zh}", f"When the {label.en} {way_en} that value, {to_label.en} is chosen"),
    )  # fmt: skip


def flips() -> tuple[Flip, ...]:
    """Return flips near and far, one of them to nothing."""
    e5 = words("微调 e5-small", "fine-tuned e5-small")
    none = words("没有可行方案", "nothing feasible")
    return (
        flip(
            "requirements.quality.floor",
            words("质量下限", "quality floor"),
            0.82,
            0.836,
            "share",
            None,
            none,
            "measured",
        ),
        flip("value.per_correct", words("每次答对的价值", "worth of a right answer"), 0.002, 0.0119, "CNY", E5, e5),
        flip(
            "labelled_rows",
            words("已标注行数", "labelled rows"),
            8976,
            1150,
            "rows",
            QWEN,
            words("Qwen 0.5B 零样本", "zero-shot Qwen 0.5B"),
        ),
        flip("traffic.volume", words("平均流量", "average traffic"), 2.315, 61.0, "1/s", E5, e5, "assumed"),
        flip(
            "requirements.latency.p95",
            words("p95 延迟上限", "p95 latency limit"),
            0.05,
            0.00087,
            "s",
            None,
            none,
            "measured",
        ),
    )


def curves() -> tuple[LearningCurve, ...]:
    """Return three arms, one of them flat."""
    rows = (561, 2244, 8976)
    char, e5, qwen = (0.762, 0.811, 0.848), (0.793, 0.829, 0.852), (0.819, 0.819, 0.819)

    def points(values: tuple[float, ...], half: float) -> tuple[CurvePoint, ...]:
        return tuple(
            CurvePoint(rows=n, value=v, low=v - half, high=v + half, seeds=1 if n < 8976 else 3)
            for n, v in zip(rows, values, strict=True)
        )

    more = Measurement(name="macro_f1", value=0.004, low=0.001, high=0.007, n=3, unit="share", provenance="predicted")
    return (
        LearningCurve(
            arm="linear.char",
            label=words("字符 TF-IDF", "Character TF-IDF"),
            points=points(char, 0.018),
            next_1000=more,
        ),
        LearningCurve(
            arm="encoder.e5-small",
            label=words("微调 e5-small", "Fine-tuned e5-small"),
            points=points(e5, 0.017),
            next_1000=more,
        ),
        LearningCurve(
            arm="llm_prompt.qwen05b-zero",
            label=words("Qwen 0.5B 零样本", "Zero-shot Qwen 0.5B"),
            points=points(qwen, 0.03),
        ),
    )


def profile(classes: tuple[str, ...] = ("neg", "pos")) -> Profile:
    """Return the profile of data half of which repeats itself."""
    return Profile(
        data="3f7c1a9e5b2d4c6f8a0b1c2d3e4f5a6b", file_sha256="9b" * 32, encoding="utf-8", language="zh", rows_read=34_980, rows_used=14_960,
        exact_duplicates=19_722, conflicting_rows=296, near_duplicate_rows=412, unusable_rows=2, classes=classes, class_counts=(7_511, 7_449),
        columns=(ColumnProfile(name="text", kind="text", missing=0, distinct=14_960, mean_length=44.8, p95_length=142.0),
                 ColumnProfile(name="stars", kind="number", missing=320, distinct=5, low=1.0, high=5.0),
                 ColumnProfile(name="shop", kind="category", missing=12, distinct=41, top=(("旗舰店", 4_112), ("自营", 3_090)))),
        split=Split(train=8_976, calibrate=1_496, select=2_992, confirm=1_496),
        personal_data=(PersonalDataCount(kind="mobile_phone", rows=38, columns=("text",)), PersonalDataCount(kind="email", rows=11, columns=("text",))),
        leakage_suspects=("stars",),
        naive_score=Measurement(name="accuracy", value=0.938, low=0.934, high=0.942, n=6_996, unit="share"),
        noise_ceiling=Measurement(name="accuracy", value=0.946, low=0.931, high=0.958, n=8_976, unit="share", remark="estimated from cross-validated disagreement"),
        rows_to_prove_floor=1_312,
        advice=(
            Advice(code="duplicates", severity="warn", message=words("56 % 的行重复前面的行；不去重会把 0.846 读成 0.938", "56 % of the rows repeat an earlier one; left in, 0.846 would read 0.938"),
                   action=words("已合并，无需处理；收集数据时请查明来源", "Merged already; find out where they come from when collecting")),
            Advice(code="personal", severity="warn", message=words("38 行含手机号", "38 rows carry phone numbers"), action=words("设置 risk.personal_data: mask", "Set risk.personal_data: mask")),
            Advice(code="balanced", severity="info", message=words("两类几乎一样多", "The two classes are nearly equal"), action=words("无需处理", "Nothing to do")),
        ),
    )  # fmt: skip


def race(seen: dict[str, tuple[Words, tuple[tuple[float, float, float, float], ...]]]) -> tuple[RaceLook, ...]:
    """Return looks from arm → (label, (share of the training rows, score, half of the interval, seconds spent by then) …)."""
    found = [
        (at, arm, label, share, score, half) for arm, (label, looks) in seen.items() for share, score, half, at in looks
    ]
    spent, made = 0.0, []
    for number, (at, arm, label, share, score, half) in enumerate(sorted(found, key=lambda look: look[:2]), 1):
        made.append(RaceLook(
            number=number, arm=arm, label=label, stage="final" if half < 0.02 and share == 1.0 else "rung",
            fraction=None if arm.startswith("llm") else share, rows=round(0.5 / half**2), score=score, low=score - half,
            high=score + half * 0.95, seconds=at - spent, at=at,
        ))  # fmt: skip
        spent = at
    return tuple(made)


def looks() -> tuple[RaceLook, ...]:
    """Return the race of the demo: two models reach the final, the LLM is looked at once for reference."""
    return race({
        "linear.char": (words("字符 TF-IDF", "Character TF-IDF"), ((0.11, 0.771, 0.034, 21.0), (0.33, 0.812, 0.024, 47.0), (1.0, 0.8453, 0.0182, 290.0))),
        "linear.word": (words("分词 TF-IDF", "Word TF-IDF"), ((0.11, 0.742, 0.035, 23.0), (0.25, 0.801, 0.026, 52.0))),
        "encoder.e5-small": (words("微调 multilingual-e5-small", "Fine-tuned multilingual-e5-small"), ((0.11, 0.768, 0.034, 71.0), (0.33, 0.824, 0.024, 164.0), (1.0, 0.8492, 0.0178, 610.0))),
        "embedding_head.wordllama": (words("静态词向量 WordLlama", "Static WordLlama embeddings"), ((0.11, 0.702, 0.036, 26.0), (0.25, 0.741, 0.028, 57.0))),
        "baseline.majority": (words("多数类基线", "Majority baseline"), ((1.0, 0.334, 0.031, 19.5),)),
        "llm_prompt.qwen05b-zero": (words("Qwen 0.5B 零样本", "Zero-shot Qwen 0.5B"), ((1.0, 0.8194, 0.04, 40.0),)),
    })  # fmt: skip


def exits() -> tuple[RaceExit, ...]:
    """Return who was dropped in the demo, one per kind that is common."""
    return (
        RaceExit(arm="llm_prompt.qwen05b-zero", label=words("Qwen 0.5B 零样本", "Zero-shot Qwen 0.5B"), candidates=(QWEN,), kind="infeasible", at=14.2,
                 reason=words("用初始权重在真实运行时上试测：p95 为 310ms（至少 290ms，n=30），超过上限 50ms，训练之前即可排除",
                              "probed with initial weights on the real runtime: p95 310ms (at least 290ms, n=30) is above the limit 50ms; out before any training")),
        RaceExit(arm="embedding_head.minilm", label=words("冻结 MiniLM", "Frozen MiniLM"), candidates=("embedding_head.minilm.none.onnxruntime",), kind="failed", at=17.0,
                 reason=words("运行失败（memory）：内存超过 6 GiB", "failed (memory): memory above 6 GiB")),
        RaceExit(arm="encoder.e5-small", label=words("微调 multilingual-e5-small", "Fine-tuned multilingual-e5-small"), candidates=("encoder.e5-small.none.onnxruntime",),
                 kind="infeasible", ends=False, at=18.1, reason=words("体积 471 MB，超过上限 300 MB", "size 471 MB is above the limit 300 MB")),
        RaceExit(arm="baseline.majority", label=words("多数类基线", "Majority baseline"), candidates=("baseline.majority.none.native",), kind="eliminated", at=19.5, fraction=1.0,
                 reason=words("第 1 轮得分 0.334，进入无差异区的概率不足 5%", "round 1: score 0.334, chance to come within the indifference zone below 5 %")),
        RaceExit(arm="linear.word", label=words("分词 TF-IDF", "Word TF-IDF"), candidates=("linear.word.none.native",), kind="eliminated", at=52.0, fraction=0.25,
                 reason=words("第 2 轮（训练数据的 25 %，1200 行）得分 0.801，优于领先者的概率 0.03，同族已有更好的一个，名额有限",
                              "round 2 (25 % of the training rows, 1200 rows judged): score 0.801, P(better than the leader) 0.03, a better one of its family went on")),
        RaceExit(arm="embedding_head.wordllama", label=words("静态词向量 WordLlama", "Static WordLlama embeddings"), candidates=("embedding_head.wordllama.none.native",),
                 kind="eliminated", at=57.0, fraction=0.25,
                 reason=words("第 2 轮（训练数据的 25 %，1200 行）得分 0.741，进入无差异区的概率不足 5%",
                              "round 2 (25 % of the training rows, 1200 rows judged): score 0.741, chance to come within the indifference zone below 5 %")),
        RaceExit(arm="ensemble.soft-vote", label=words("软投票", "Soft vote"), candidates=("ensemble.soft-vote.none.composite",), kind="not_reached",
                 reason=words("预算用完", "out of budget")),
    )  # fmt: skip


def run() -> RunSummary:
    """Return an ordinary run."""
    return RunSummary(
        race=looks(), exits=exits(), exhaustive_seconds=5_400.0,
        trials=31, steps=118, steps_failed=1, wall_seconds=402.0, cpu_seconds=655.0, looks_at_confirm=3, candidates_considered=9,
        stop_rule=words("再测一次的期望收益低于它的价格", "The expected gain of one more trial is below its price"), harness_seconds=0.42,
    )  # fmt: skip


def provenance(**overrides: Any) -> DecisionProvenance:
    """Return where the numbers come from."""
    here = Environment(
        machine="c7e1", system="Linux 6.1", cpu="Intel Xeon Platinum 8375C", cores=2, memory=16_000_000_000, isa=("avx2", "avx512_vnni"),
        python="3.11.9", threads=1, packages={"numpy": "2.3.4", "scikit-learn": "1.8.0", "onnxruntime": "1.23.2"},
    )  # fmt: skip
    return DecisionProvenance(
        bakeoff="0.1.0", spec_key="a1" * 16, data="3f7c1a9e5b2d4c6f8a0b1c2d3e4f5a6b", file_sha256="9b" * 32, ledger_rows=118, seed=0, draws=2000,
        overrides=overrides, environments=(here,),
    )  # fmt: skip


def winner(**changes: Any) -> Decision:
    """Return the demo: character TF-IDF wins."""
    found = candidates()
    base: dict[str, Any] = {
        "study": "review-sentiment", "task": "text-classification", "outcome": "winner",
        "recommended": Recommended(id=CHAR, label=found[0].label), "p_best": 0.964,
        "headline": words("上线字符 TF-IDF + 逻辑回归", "Ship character TF-IDF with logistic regression"),
        "summary": words(
            "它满足全部五项要求，macro-F1 0.845，一年总成本约 4,825 CNY。微调编码器的质量在无差别区间内，但更贵；零样本大模型的延迟超过上限六倍。",
            "It meets all five requirements with a macro-F1 of 0.845 for about 4,825 CNY a year. The fine-tuned encoder is no better than matters and dearer; the zero-shot LLM is six times over the latency limit."),
        "metric": "macro_f1", "regret": 41.0, "regret_unit": "CNY", "runner_up": E5,
        "score": Measurement(name="macro_f1", value=0.8447, low=0.8265, high=0.8629, n=1496, unit="share", remark="corrected for selection"),
        "candidates": found, "unavailable": unavailable(), "constraints": constraints(found[0].metrics), "cost": found[0].cost,
        "risks": risks(), "flips": flips(), "pareto": (CHAR, E5), "curves": curves(), "profile": profile(), "run": run(), "provenance": provenance(),
    }  # fmt: skip
    return Decision(**(base | changes))


def no_clear_winner() -> Decision:
    """Return two finalists nobody can tell apart."""
    first, second, *rest = candidates()
    slow, remark = rest[1], "p95 needs at least 90 requests; 12 measured, 78 are missing"
    remark_zh = "p95 至少需要 90 次请求，只测了 12 次，还差 78 次"
    refused = Metric(
        value=None, n=12, unit="s", validity="refused", verdict="refused", remark=remark, remark_zh=remark_zh
    )
    rest[1] = slow.model_copy(update={"metrics": slow.metrics | {"latency_p95": refused}})
    tied = (
        first.model_copy(update={"status": "within_indifference", "p_best": 0.58}),
        second.model_copy(update={"p_best": 0.41}),
        *rest,
    )
    return winner(
        outcome="no_clear_winner", p_best=0.58, candidates=tied, constraints=(rule(), *constraints(first.metrics)), rows_to_separate=6_200, regret=310.0,
        headline=words("没有明确赢家：先上字符 TF-IDF", "No clear winner: ship character TF-IDF for now"),
        summary=words("两个决赛方案的差别在无差别区间内。推荐其中最便宜、风险最小的；再多 6,200 行验证数据可以分出高下。",
                      "The two finalists differ by less than matters. The cheapest and least risky of them is recommended; 6,200 confirm rows would tell them apart."),
    )  # fmt: skip


def infeasible() -> Decision:
    """Return a study whose floor nothing reaches."""
    first, *rest = candidates()
    missed = first.metrics | {"macro_f1": quality(0.8453, 0.0182, verdict="misses")}
    near = first.model_copy(
        update={
            "status": "infeasible", "p_best": 0.0, "p_feasible": 0.04, "metrics": missed,
            "reason": words("macro-F1 0.845，低于 0.87 的下限", "macro-F1 0.845 is below the floor of 0.87"),
        }
    )  # fmt: skip
    out = [
        c.model_copy(update={"status": "infeasible", "p_best": 0.0})
        if c.status in {"within_indifference", "dominated"}
        else c
        for c in rest
    ]
    floor = constraints(missed)[0].model_copy(
        update={"limit": 0.87, "verdict": "misses", "p_meets": 0.004, "text": words("差 0.025", "Short by 0.025")}
    )
    return winner(
        outcome="infeasible", recommended=None, p_best=None, regret=None, score=None, runner_up=CHAR, cost=None, flips=(), pareto=(),
        candidates=(near, *out), constraints=(floor, *constraints(missed)[1:]),
        relaxations=(
            Relaxation(constraint="macro_f1", limit=0.87, needed=0.849, unit="share", admits=(E5,),
                       text=words("把下限从 0.87 降到 0.849，可以放进 1 个方案", "A floor of 0.849 instead of 0.87 admits 1")),
            Relaxation(constraint="macro_f1", limit=0.87, needed=0.845, unit="share", admits=(CHAR, E5),
                       text=words("把下限从 0.87 降到 0.845，可以放进 2 个方案", "A floor of 0.845 instead of 0.87 admits 2")),
        ),
        headline=words("没有方案满足全部要求：差在质量下限", "Nothing meets every requirement: the quality floor is out of reach"),
        summary=words("最接近的是字符 TF-IDF，macro-F1 0.845，下限 0.87。", "The nearest miss is character TF-IDF with macro-F1 0.845 against a floor of 0.87."),
    )  # fmt: skip


def crowded(count: int = 60) -> Decision:
    """Return ``count`` candidates of mixed fate."""
    base = candidates()
    grown = list(base)
    while len(grown) < count:
        step = len(grown)
        like = base[1 + step % (len(base) - 1)]
        found = {
            name: metric.model_copy(update={"value": metric.value * (1 - 0.001 * step), "low": None, "high": None})
            if metric.value is not None
            else metric
            for name, metric in like.metrics.items()
        }
        grown.append(
            like.model_copy(
                update={"id": f"{like.family}.variant-{step}.none.native", "status": "eliminated", "metrics": found}
            )
        )
    return winner(candidates=tuple(grown), run=crowded_run(count))


def crowded_run(count: int = 60) -> RunSummary:
    """Return the race of ``count`` models: an eighth out by a probe, most of the others beaten at growing shares, six finalists."""
    chance = random.Random(7)
    seen: dict[str, tuple[Words, tuple[tuple[float, float, float, float], ...]]] = {}
    gone: list[RaceExit] = []
    clock = 4.0
    stays = list(range(count))
    steps = ((0.04, 0.05, 1.0), (0.11, 0.04, 0.45), (0.33, 0.028, 0.25), (1.0, 0.018, 0.1))
    shots: dict[int, list[tuple[float, float, float, float]]] = {one: [] for one in stays}
    for share, half, keep in steps:
        for one in stays:
            clock += chance.uniform(0.3, 2.0) * (1 + 30 * share)
            if one % 8 == 3 and share < 0.1:
                continue
            best = 0.86 - 0.3 * ((one * 7) % count) / count
            shots[one].append((share, best - 0.12 * (1 - share) ** 3 + chance.gauss(0, half / 3), half, clock))
        stays = [one for one in stays if shots[one]]
        stays = sorted(stays, key=lambda one: -shots[one][-1][1])[: max(6, round(keep * count))]
    for one, mine in shots.items():
        name = f"boosting.variant-{one}"
        label = words(f"梯度提升 {one} 号设置", f"Gradient boosting, setting {one}")
        if mine:
            seen[name] = (label, tuple(mine))
        if one not in stays:
            why = (
                words("进入无差异区的概率不足 5%", "chance to come within the indifference zone below 5 %")
                if mine
                else words("体积超过上限", "size above the limit")
            )
            gone.append(RaceExit(arm=name, label=label, candidates=(f"{name}.none.native",), kind="eliminated" if mine else "infeasible",
                                 at=mine[-1][3] if mine else 4.0 + one / 3, fraction=mine[-1][0] if mine else None, reason=why))  # fmt: skip
    base = run()
    return base.model_copy(
        update={
            "race": race(seen),
            "exits": tuple(sorted(gone, key=lambda out: (out.at, out.arm))),
            "cpu_seconds": clock,
        }
    )


HOSTILE = "<script>alert('x')</script>|`*_[x](javascript:1)\u202eمرحبا 👩\u200d👩\u200d👧"


def hostile() -> Decision:
    """Return a decision whose every user-made text tries to break out."""
    bad = words(HOSTILE, HOSTILE)
    first, *rest = candidates()
    evil = first.model_copy(update={"label": bad, "reason": bad, "missing": HOSTILE})
    risk = risks()[0].model_copy(update={"observed": bad, "standards": (HOSTILE,)})
    evil_run = run().model_copy(update={
        "race": tuple(look.model_copy(update={"label": bad}) for look in looks()),
        "exits": tuple(out.model_copy(update={"label": bad, "reason": bad}) for out in exits()), "stop_rule": bad,
    })  # fmt: skip
    return winner(
        study="x", run=evil_run, candidates=(evil, *rest), recommended=Recommended(id=CHAR, label=bad), headline=bad, summary=bad, risks=(risk,),
        profile=profile((HOSTILE, "</style><img src=x onerror=alert(1)>")), unavailable=(unavailable()[0].model_copy(update={"command": HOSTILE}),),
        provenance=provenance(**{HOSTILE: HOSTILE}),
    )  # fmt: skip


def rule() -> ConstraintVerdict:
    """Return a limit that is kept or broken and has no number."""
    metric = Metric(value=0.0, n=1, unit="rule", verdict="meets")
    return limit(
        "risk.data_may_leave",
        words("数据不出本地", "rows stay on the premises"),
        0.0,
        "rule",
        "max",
        metric,
        1.0,
        words("数据不离开本地", "No row leaves"),
    )


def bare() -> Decision:
    """Return the least a decision can hold: nothing measured, nothing to say."""
    lean = profile().model_copy(update={
        "advice": (), "personal_data": (), "leakage_suspects": (), "naive_score": None, "noise_ceiling": None, "rows_to_prove_floor": None, "columns": (),
    })  # fmt: skip
    failed = [one for one in candidates() if one.status == "failed"]
    return winner(
        outcome="infeasible", recommended=None, p_best=None, regret=None, score=None, runner_up=None, cost=None, flips=(), pareto=(), curves=(),
        risks=(), constraints=(), unavailable=(), candidates=tuple(failed), profile=lean, provenance=provenance().model_copy(update={"environments": ()}),
        run=run().model_copy(update={"race": (), "exits": (), "exhaustive_seconds": None}),
        headline=words("什么都没有测成", "Nothing could be measured"), summary=words("每个候选都失败了", "Every candidate failed"),
    )  # fmt: skip
