"""A synthetic recorded table: families with planted curves, answers that share hard rows, costs that differ a lot."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bakeoff.search.table import Arm, Prefix, Table

FRACTIONS = (1 / 27, 1 / 9, 1 / 3, 1.0)


class Planted(NamedTuple):
    """A family: best accuracy, slope of the curve, CPU seconds of an arm at the full share, number of arms."""

    family: str
    best: float
    slope: float
    seconds: float
    arms: int


CHEAP_WINS = (
    Planted("linear", 0.86, 0.02, 0.5, 8),
    Planted("boosting", 0.83, 0.03, 8.0, 8),
    Planted("encoder", 0.82, 0.02, 40.0, 6),
)
DEAR_WINS = (
    Planted("linear", 0.80, 0.02, 0.5, 12),
    Planted("boosting", 0.83, 0.03, 4.0, 12),
    Planted("encoder", 0.88, 0.02, 10.0, 16),
)


def table(
    families: tuple[Planted, ...] = DEAR_WINS, *, rows: int = 3000, seed: int = 0, prefix: str | None = None
) -> Table:
    """Return a complete table of two classes and two training seeds; with ``prefix`` every encoder passes through a shared step."""
    random = np.random.default_rng(seed)
    arms, level, slope, seconds = [], [], [], []
    for one in families:
        for number in range(one.arms):
            shared = prefix if one.family == "encoder" else None
            arms.append(Arm(f"{one.family}.v{number}", one.family, {"x": number / (one.arms - 1)}, prefix=shared))
            level.append(one.best - 0.06 * (number / (one.arms - 1) - 0.5) ** 2)
            slope.append(one.slope)
            seconds.append(one.seconds)
    actual = random.integers(0, 2, rows).astype(np.uint8)
    hard, family_hard = random.standard_normal(rows), {one.family: random.standard_normal(rows) for one in families}
    predicted = np.zeros((len(arms), len(FRACTIONS), 2, rows), np.uint8)
    build = np.zeros((len(arms), len(FRACTIONS), 2))
    for place, arm in enumerate(arms):
        for number, share in enumerate(FRACTIONS):
            for training in range(2):
                wanted = level[place] - slope[place] * (share**-0.5 - 1) + 0.002 * random.standard_normal()
                mixed = 0.8 * hard + 0.5 * family_hard[arm.family] + 0.25 * random.standard_normal(rows)
                right = mixed < np.quantile(mixed, np.clip(wanted, 0.5, 1.0))
                predicted[place, number, training] = np.where(right, actual, 1 - actual)
                build[place, number, training] = seconds[place] * (0.02 + 0.98 * share)
    return Table(
        name="planted", task="text-classification", metric="accuracy", classes=("no", "yes"), positive=1, train=6000,
        fractions=FRACTIONS, arms=tuple(arms), actual=actual, predicted=predicted, known=np.ones(build.shape, np.bool_), build=build,
        predict=1e-4 * np.array(seconds), prefixes={prefix: Prefix(1.0, 0.002)} if prefix else {},
        latency=np.full((len(arms), 2), 0.001) * np.array(seconds)[:, None], size=np.full((len(arms), 2), 1e6),
    )  # fmt: skip
