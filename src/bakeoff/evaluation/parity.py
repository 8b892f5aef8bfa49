"""Did exporting or compressing change the answers? Judged on real calibrate rows before anything else is measured.

What is delivered is held to the same rule on the machine it is delivered to: no probability further from the trial's than its kind of
arithmetic may drift, and the trial's label but for ties.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.rule import choose, scale
from bakeoff.schema.artifact import Artifact, Rule
from bakeoff.schema.errors import StepError
from bakeoff.schema.measurement import Measurement

TIE = 1e-3
"""Two expected scores nearer than this are a tie: either label counts as agreement."""
EXPORT_DRIFT = 1e-3
"""Largest difference of any probability that a pure change of format may cause."""
LOSSY_DRIFT = 0.05
"""Largest difference of any probability when a model in few bits, or one that only an endpoint knows, is asked on another machine.

Processors round 8-bit products differently, those without 8-bit dot products (VNNI) even saturate: a small static int8 network moved by 0.048
from one with to one without. A model that moves by more is not the one that was tested, and is to be tried on the machine that serves."""
COMPRESSED_AGREEMENT = 0.97
"""Least share of equal labels after a lossy pass; what the loss costs is measured on the select rows anyway."""

_IN_FEW_BITS = frozenset({"gguf-prompt", "openai-prompt"})


def measure_parity(
    before: NDArray[np.floating], after: NDArray[np.floating], rule: Rule
) -> tuple[Measurement, Measurement]:
    """Return the share of rows with the same label (ties allowed) and the largest drift of a probability.

    Args:
        before: raw probabilities (n, k) of the native artefact.
        after: of the exported or compressed one, same rows.
        rule: how both become labels.

    """
    first, second = (scale(np.asarray(table, dtype=np.float64), rule.temperature) for table in (before, after))
    labels = choose(first, rule), choose(second, rule)
    same = same_labels(labels[1], labels[0], first, rule)
    drift = np.abs(first - second)
    n = len(first)
    mean = float(drift.mean()) if n else 0.0
    return (
        Measurement(name="parity_agreement", value=float(same.mean()) if n else 1.0, n=n, unit="share",
                    remark="labels, ties within 0.001", remark_zh="比较标签，相差 0.001 以内算并列"),
        Measurement(name="parity_drift", value=float(drift.max()) if n else 0.0, n=n, unit="probability",
                    remark=f"mean {mean:.2g}", remark_zh=f"平均 {mean:.2g}"),
    )  # fmt: skip


def gate(agreement: Measurement, drift: Measurement, *, lossy: bool) -> None:
    """Refuse an artefact whose answers differ from the native one's by more than its kind may.

    Raises:
        StepError: code 'parity'.

    """
    same, moved = agreement.value or 0.0, drift.value or 0.0
    if lossy and same < COMPRESSED_AGREEMENT:
        what = (
            f"compressing changed {100 * (1 - same):.1f} % of the labels on {agreement.n} calibrate rows (at most 3 %)"
        )
        zh = f"压缩后，{agreement.n} 行校准数据中有 {100 * (1 - same):.1f} % 的标签变了（上限 3 %）"
        raise StepError("parity", what, zh=zh)
    if not lossy and (same < 1.0 or moved > EXPORT_DRIFT):
        changed = round((1 - same) * agreement.n)
        what = f"exporting changed {changed} of {agreement.n} labels and moved a probability by {moved:.2g} (at most {EXPORT_DRIFT:g})"
        zh = f"导出后，{agreement.n} 个标签中变了 {changed} 个，概率最多偏移 {moved:.2g}（上限 {EXPORT_DRIFT:g}）"
        raise StepError("parity", what, zh=zh)


def allowed_drift(artifacts: Iterable[Artifact]) -> float:
    """Return how far a probability may be from the trial's when a model of these artefacts (its own, its members') is asked again."""
    lossy = any(found.format in _IN_FEW_BITS or found.meta.get("compression") for found in artifacts)
    return LOSSY_DRIFT if lossy else EXPORT_DRIFT


def same_labels(
    labels: NDArray[np.int64], expected: NDArray[np.int64], table: NDArray[np.float64], rule: Rule, tie: float = TIE
) -> NDArray[np.bool_]:
    """Return whether labels agree (n,), either label being right in a tie.

    Args:
        labels: class indices (n,); below 0 for a label that is none of the classes.
        expected: class indices (n,) they should be.
        table: the probabilities (n, k) behind ``expected``.
        rule: how they became labels.
        tie: two probabilities no further apart than this are a tie, that is what moving each by half of it would turn round. Where
            mistakes have costs the same movement decides, so that their unit does not matter.

    """
    costs = 1.0 - np.eye(table.shape[1]) if rule.costs is None else np.asarray(rule.costs, dtype=np.float64)
    between = costs[:, labels] - costs[:, expected]
    tied = np.abs((table * between.T).sum(axis=1)) <= tie / 2 * np.abs(between).sum(axis=0)
    return np.asarray((labels == expected) | (tied & (labels >= 0)), dtype=np.bool_)
