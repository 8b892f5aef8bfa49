"""What 1,000 more labelled rows are worth in money, where right answers have a price: predicted from the learning curve."""

from __future__ import annotations

import numpy as np

from bakeoff.decision.curves import MORE, Curve
from bakeoff.decision.words import money
from bakeoff.decision.world import World
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.spec import Spec


def labels_value(world: World, spec: Spec, curve: Curve | None, confidence: float) -> Measurement | None:
    """Return the net worth over the horizon of ``MORE`` labelled rows for one arm; None without prices or a curve.

    The gain in quality is taken at what a point of quality is worth at today's mix of mistakes; labelling is paid once.
    """
    if curve is None or not world.today.priced:
        return None
    unit, price = world.point_value(world.today), world.today.label * MORE
    gains = curve.error(curve.today) - curve.error(curve.today + MORE)
    tail = (1.0 - confidence) / 2.0
    low, high = (float(found) * unit - price for found in np.quantile(gains, (tail, 1.0 - tail)))
    value = float(gains[0]) * unit - price
    paid = money(price, spec.value.currency)
    return Measurement(
        name="labels_value", value=value, low=min(low, value), high=max(high, value), confidence=confidence, unit=spec.value.currency,
        n=len(gains) - 1, provenance="predicted",
        remark=f"{MORE:,} more labelled rows over the horizon, after paying {paid.en} for labels; by the learning curve",
        remark_zh=f"再增加 {MORE:,} 行标注在整个时间范围内的净价值（已扣除标注费 {paid.zh}）；由学习曲线推算",
    )  # fmt: skip
