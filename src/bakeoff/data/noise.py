"""What the labels allow, and what a careless split would claim: estimates that take seconds, kept apart from ``prepare``.

Label noise by confident learning (Northcutt, Jiang and Chuang, *Confident Learning: Estimating Uncertainty in Dataset Labels*,
JAIR 70, 2021). Needs scikit-learn.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.features import design, fitted, out_of_fold, predicted
from bakeoff.data.frozen import Frozen
from bakeoff.data.profile import twin_share
from bakeoff.data.split import SPLITS, shuffled
from bakeoff.schema.base import Words
from bakeoff.schema.errors import UnavailableError
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.profile import Advice, Profile
from bakeoff.schema.spec import Spec

_FOLDS = 5
_ROWS = 6_000
_FEWEST = 100
_DRAWS = 1_000
_RAW_ROWS = 60_000
_TWINS = 0.01
_HELD_OUT = 5
_SUREST = 0.2


def measured_profile(spec: Spec, base_dir: Path | None, frozen: Frozen) -> Frozen:
    """Return the frozen data with ``noise_ceiling`` and, where duplicates matter, ``naive_score`` in its profile, and advice on both.

    ``base_dir`` is not read; the frozen rows know how often each stood in the file. Without scikit-learn the profile stays as it is.
    """
    del base_dir
    try:
        ceiling = noise_ceiling(frozen, spec.seed, spec.measuring.threads)
        naive, honest = (None, None)
        if twin_share(frozen.copies, frozen.near) >= _TWINS:
            naive, honest = naive_score(frozen, spec.seed), honest_score(frozen, spec.seed)
    except UnavailableError:
        return frozen
    advice = (*_floor_advice(spec, ceiling), *_naive_advice(naive, honest))
    order = {"stop": 0, "warn": 1, "info": 2}
    merged = tuple(sorted((*advice, *frozen.profile.advice), key=lambda item: order[item.severity]))
    profile: Profile = frozen.profile.model_copy(
        update={"noise_ceiling": ceiling, "naive_score": naive, "advice": merged}
    )
    return replace(frozen, profile=profile)


# --- label noise ---------------------------------------------------------------------------------------------------


def noise_ceiling(frozen: Frozen, seed: int = 0, threads: int = 1) -> Measurement:
    """Estimate the best accuracy the labels allow: one minus the share of labels that look wrong.

    Five-fold out-of-fold probabilities of a linear model on at most 6,000 rows outside *confirm*; near duplicates and groups
    stay in one fold. The lower end is a bootstrap over rows (95 %); the upper end counts only labels that disagree where the
    model is surest, which hard rows do not explain. ``threads`` is accepted for symmetry; one is used.

    Raises:
        UnavailableError: scikit-learn is not installed.

    """
    del threads
    rows = _sample(frozen, seed)
    refused = _too_few(frozen, rows)
    if refused:
        return refused
    labels, classes = frozen.labels[rows], len(frozen.classes)
    features = _with_sklearn(lambda: design(frozen, rows))
    folds = _folds(frozen, rows, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model short of convergence is good enough here
        probabilities = out_of_fold(features, labels, folds, classes, seed)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    noise, _, high = noise_share(confident_joint(labels, probabilities), labels, seed)
    noise, high = (
        min(noise, 1 - accuracy),
        min(high, 1 - accuracy),
    )  # the labels allow at least what a model reached on them
    low = min(sure_noise(labels, probabilities), noise)
    remark = _remark(frozen, noise, low, accuracy)
    return Measurement(
        name="noise_ceiling",
        value=1 - noise,
        low=1 - high,
        high=1 - low,
        confidence=0.95,
        n=len(rows),
        unit="accuracy",
        provenance="predicted",
        remark=remark.en,
        remark_zh=remark.zh,
    )


def _remark(frozen: Frozen, noise: float, low: float, accuracy: float) -> Words:
    conflicts = frozen.profile.conflicting_rows
    repeated = conflicts + int(frozen.copies[frozen.copies > 1].sum())
    seen = Words(zh="", en="")
    if conflicts:
        seen = Words(
            zh=f"直接证据：{repeated} 行重复数据中，有 {conflicts} 行同文异标。",
            en=f" Direct evidence: {conflicts} of {repeated} repeated rows carry two labels.",
        )
    return Words(
        zh=f"置信学习用一个准确率 {accuracy:.1%} 的线性模型，认为 {noise:.1%} 的标签可疑。它会把这个模型觉得难的行当成错标，"
        f"所以真实上限可能更高；即使在模型最有把握的地方，也至少有 {low:.1%} 的标签与之不符。{seen.zh}",
        en=f"Confident learning doubts {noise:.1%} of the labels, with a linear model that is right on {accuracy:.1%}. "
        "It takes rows that are hard for this model for "
        f"wrong labels, so the true ceiling may be higher; even where the model is surest, at least {low:.1%} of the labels disagree.{seen.en}",
    )


def confident_joint(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count rows labelled i that are confidently j: p_j at least the mean p_j of rows labelled j, the largest such p_j wins.

    Returns (k, k); a row confident of nothing is not counted (Northcutt et al. 2021, equation 1).
    """
    count = probabilities.shape[1]
    thresholds = np.asarray(
        [probabilities[labels == j, j].mean() if np.any(labels == j) else 2.0 for j in range(count)]
    )
    confident = probabilities >= thresholds
    some = confident.any(axis=1)
    best = np.where(confident, probabilities, -1.0).argmax(axis=1)
    joint = np.zeros((count, count), dtype=np.int64)
    np.add.at(joint, (labels[some], best[some]), 1)
    return joint


def noise_share(joint: NDArray[np.int64], labels: NDArray[np.int64], seed: int) -> tuple[float, float, float]:
    """Return the estimated share of wrong labels with a 95 % bootstrap interval (the counts resampled as a multinomial)."""
    sizes = np.bincount(labels, minlength=len(joint)).astype(np.float64)
    total = int(joint.sum())
    if not total:
        return 0.0, 0.0, 0.0
    drawn = (
        np.random.default_rng(seed).multinomial(total, (joint / total).ravel(), size=_DRAWS).reshape(-1, *joint.shape)
    )
    shares = _off_diagonal(drawn.astype(np.float64), sizes)
    value = float(_off_diagonal(joint[None].astype(np.float64), sizes)[0])
    low, high = (float(edge) for edge in np.quantile(shares, [0.025, 0.975]))
    return value, min(low, value), max(high, value)


def sure_noise(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Return a lower bound of the noise: the share of labels that disagree among the fifth of rows each class is surest of.

    Where noise does not depend on the row, hard rows do not raise it (anchor points: Scott, Blanchard and Handy 2013; Menon et al. 2015).
    One-sided 97.5 % Wilson bound per class, weighted by class size.
    """
    total = 0.0
    for label in range(probabilities.shape[1]):
        size = int(np.count_nonzero(labels == label))
        if not size:
            continue
        margin = probabilities[:, label] - np.delete(probabilities, label, axis=1).max(axis=1)
        surest = np.argsort(-margin, kind="stable")[: max(math.ceil(_SUREST * size), 1)]
        total += size * _wilson_low(float((labels[surest] != label).mean()), len(surest))
    return total / len(labels)


def _wilson_low(share: float, n: int, z: float = 1.96) -> float:
    middle, spread = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max((middle - spread) / (1 + z**2 / n), 0.0)


def _off_diagonal(joints: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale each row of the counts to its class size, then take the mass off the diagonal."""
    kept = np.einsum("bii->bi", joints)
    rows = joints.sum(axis=2)
    right = np.divide(kept, rows, out=np.ones_like(kept), where=rows > 0)
    return np.asarray(1.0 - (right * sizes).sum(axis=1) / sizes.sum(), dtype=np.float64)


def _sample(frozen: Frozen, seed: int) -> NDArray[np.int64]:
    """Rows outside confirm, at most 6,000, class shares kept."""
    parts = [frozen.indices(name) for name in SPLITS[:3]]
    share = min(1.0, _ROWS / max(sum(len(part) for part in parts), 1))
    return np.sort(np.concatenate([frozen.indices(name, share, seed) for name in SPLITS[:3]])).astype(np.int64)


def _folds(frozen: Frozen, rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Assign folds by content, near duplicates and groups together."""
    codes = frozen.near if frozen.groups is None else np.unique(np.asarray(frozen.groups), return_inverse=True)[1]
    return (shuffled(codes[rows].astype(np.uint64), seed) % np.uint64(_FOLDS)).astype(np.int64)


def _too_few(frozen: Frozen, rows: NDArray[np.int64]) -> Measurement | None:
    rarest = int(np.bincount(frozen.labels[rows], minlength=len(frozen.classes)).min())
    if len(rows) >= _FEWEST and rarest >= 2 * _FOLDS:
        return None
    need = f"needs {_FEWEST} rows outside confirm and {2 * _FOLDS} of each class; there are {len(rows)}, of the rarest class {rarest}"
    return Measurement(
        name="noise_ceiling",
        value=None,
        n=len(rows),
        unit="accuracy",
        provenance="predicted",
        validity="refused",
        remark=need,
        remark_zh=f"除 confirm 外至少需要 {_FEWEST} 行，每类至少 {2 * _FOLDS} 行；现有 {len(rows)} 行，最少的一类只有 {rarest} 行",
    )


# --- the careless split --------------------------------------------------------------------------------------------


def naive_score(frozen: Frozen, seed: int = 0) -> Measurement:
    """Accuracy of a linear model on a random 80/20 split of the file as it came, duplicates left in: what a careless split reads.

    At most 60,000 rows. Rows whose texts carry two labels are left out, as everywhere.
    """
    rows = np.repeat(np.arange(len(frozen)), frozen.copies)
    order = np.random.default_rng([seed, 1]).permutation(len(rows))[:_RAW_ROWS]
    held = len(order) // _HELD_OUT
    return _scored(
        frozen,
        rows[order[held:]],
        rows[order[:held]],
        seed,
        "naive_score",
        Words(zh="随机划分，未去重", en="random split with duplicates left in"),
    )


def honest_score(frozen: Frozen, seed: int = 0) -> Measurement:
    """Accuracy of the same model, trained on *train* and judged on *select*: no row has a twin on the other side."""
    train, held = (
        frozen.indices("train", seed=seed, limit=_RAW_ROWS),
        frozen.indices("select", seed=seed, limit=_RAW_ROWS),
    )
    return _scored(
        frozen,
        train.astype(np.int64),
        held.astype(np.int64),
        seed,
        "honest_score",
        Words(zh="已去重，遵守分组与时间先后", en="duplicates removed, groups and time honoured"),
    )


def _scored(
    frozen: Frozen, train: NDArray[np.int64], held: NDArray[np.int64], seed: int, name: str, remark: Words
) -> Measurement:
    if len(held) < 2 or len(np.unique(frozen.labels[train])) < 2:
        few = Words(zh="行数太少", en="too few rows")
        return Measurement(name=name, value=None, unit="accuracy", validity="refused", remark=few.en, remark_zh=few.zh)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model short of convergence is good enough here
        distinct, place = np.unique(np.concatenate([train, held]), return_inverse=True)
        features = _with_sklearn(lambda: design(frozen, distinct))
        model = fitted(features[place[: len(train)]], frozen.labels[train], seed)
        right = (
            predicted(model, features[place[len(train) :]], len(frozen.classes)).argmax(axis=1) == frozen.labels[held]
        )
    value, error = float(right.mean()), 1.96 * float(np.sqrt(right.mean() * (1 - right.mean()) / len(held)))
    return Measurement(
        name=name,
        value=value,
        low=max(value - error, 0.0),
        high=min(value + error, 1.0),
        confidence=0.95,
        n=len(held),
        unit="accuracy",
        remark=f"linear model, {len(train)} training rows; {remark.en}",
        remark_zh=f"线性模型，{len(train)} 行训练数据；{remark.zh}",
    )


def _with_sklearn(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever ``work`` returns
    try:
        import sklearn  # noqa: F401 - only to fail early with a clear word

        return work()
    except ImportError:
        raise UnavailableError(
            "estimating label noise needs scikit-learn, which is not installed", try_="pip install 'bakeoff[classic]'"
        ) from None


# --- advice --------------------------------------------------------------------------------------------------------


def _floor_advice(spec: Spec, ceiling: Measurement) -> tuple[Advice, ...]:
    floor = spec.requirements.quality.floor
    if (
        floor is None
        or ceiling.value is None
        or ceiling.high is None
        or floor <= ceiling.high
        or spec.requirements.quality.metric == "roc_auc"
    ):
        return ()
    return (Advice(
        code="floor_above_ceiling", severity="warn",
        message=Words(
            zh=f"下限 {floor:g} 高于标签噪声估计的上限 {ceiling.value:.3f}（区间到 {ceiling.high:.3f}）：可能没有方案达得到。",
            en=f"The floor of {floor:g} lies above what the labels seem to allow, {ceiling.value:.3f} (up to {ceiling.high:.3f}): "
            "perhaps no candidate can reach it.",
        ),
        action=Words(zh="复核存疑的标签，或调低 requirements.quality.floor。", en="Review doubtful labels, or lower requirements.quality.floor."),
    ),)  # fmt: skip


def _naive_advice(naive: Measurement | None, honest: Measurement | None) -> tuple[Advice, ...]:
    if (
        naive is None
        or honest is None
        or naive.value is None
        or honest.value is None
        or naive.value - honest.value < 0.01
    ):
        return ()
    return (Advice(
        code="naive_score", severity="warn",
        message=Words(
            zh=f"同一个线性模型，留着重复行随机划分读出 {naive.value:.3f}，诚实划分只有 {honest.value:.3f}。",
            en=f"The same linear model reads {naive.value:.3f} on a random split with duplicates left in, and {honest.value:.3f} on an honest one.",
        ),
        action=Words(zh="以诚实划分为准；别处报过的高分请按此重算。",
                     en="Trust the honest figure; recompute scores reported elsewhere on such a split."),
    ),)  # fmt: skip
