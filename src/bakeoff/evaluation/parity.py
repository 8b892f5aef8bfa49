"""Did exporting or compressing change the answers? Judged on real calibrate rows before anything else is measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.rule import choose, scale
from bakeoff.schema.artifact import Rule
from bakeoff.schema.errors import StepError
from bakeoff.schema.measurement import Measurement

TIE = 1e-3
"""Two expected scores nearer than this are a tie: either label counts as agreement."""
EXPORT_DRIFT = 1e-3
"""Largest difference of any probability that a pure change of format may cause."""
COMPRESSED_AGREEMENT = 0.97
"""Least share of equal labels after a lossy pass; what the loss costs is measured on the select rows anyway."""


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
    same = (labels[0] == labels[1]) | _tied(first, labels[0], labels[1], rule)
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


def _tied(
    table: NDArray[np.float64], one: NDArray[np.int64], other: NDArray[np.int64], rule: Rule
) -> NDArray[np.bool_]:
    scores = table if rule.costs is None else table @ np.asarray(rule.costs)
    rows = np.arange(len(table))
    return np.abs(scores[rows, one] - scores[rows, other]) <= TIE
