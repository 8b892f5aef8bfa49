"""A plan for people: the step graph as a tree, the order of spending, what it takes in all and what would end it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from bakeoff.schema.units import say_seconds

if TYPE_CHECKING:
    from bakeoff.search import Plan
    from bakeoff.search.factors import Seconds
    from bakeoff.search.graph import GraphStep

_STAGES = {"probe": "probe", "rung": "search", "final": "final", "risk": "risk checks"}
_REST = "reading the data, deciding, writing the report"
_STATES = {"done": "in the ledger", "failed": "failed", "to_do": ""}
_WIDTH = 58


def plan_text(plan: Plan) -> str:
    """Return a plan as a page of plain text."""
    split = plan.profile.split
    source = f"{plan.learnt_from} earlier studies on this machine" if plan.learnt_from else "shipped guesses"
    lines = [
        (
            f"{plan.study}: {plan.task}, preset {plan.preset}, {plan.profile.rows_used} rows "
            f"(train {split.train}, calibrate {split.calibrate}, select {split.select}, confirm {split.confirm})"
        ),
        f"all seconds are predicted, from {source}" + (" and this study's ledger" if plan.ledger.steps else ""),
        "",
        f"{'every candidate in full':{_WIDTH}} {'shared by':>9} {'predicted':>10}   {'range':17}",
        *_tree([step for step in plan.steps if step.purpose == "rung"]),
        *_order(plan),
    ]
    if plan.unavailable:
        lines += ["", f"unavailable ({len(plan.unavailable)}):"]
        for item in plan.unavailable:
            lines.append(f"  {item.id:50} {item.reason.en}" + (f"\n    → {item.command}" if item.command else ""))
    return "\n".join(line.rstrip() for line in [*lines, "", *_totals(plan)])


def _order(plan: Plan) -> Iterator[str]:
    """Yield the order of spending, down to what is outside of trials; nothing where no trial is left."""
    if not plan.spending:
        return
    yield ""
    yield f"{'in this order':{_WIDTH}} {'trials':>9} {'predicted':>10}   {'range':17}"
    for item in plan.spending:
        yield f"  {_STAGES[item.purpose] + _share(item.fraction):{_WIDTH - 2}} {item.trials:>9} {_seconds(item.seconds)}"
    yield f"  {_REST:{_WIDTH - 2}} {'':>9} {_seconds(plan.around)}"


def _totals(plan: Plan) -> Iterator[str]:
    if plan.ledger.steps:
        yield f"the ledger has {plan.ledger.steps} steps that took {say_seconds(plan.ledger.seconds)}"
    added = sum(item.seconds.mean for item in plan.spending) + plan.around.mean
    cut = f" (the {say_seconds(added)} above, ended by the deadline)" if added > plan.most_seconds else ""
    yield (
        f"expected {say_seconds(plan.expected_seconds)}{cut}, every step counted; 90 % range {_range(plan.expected)}, "
        f"at most {say_seconds(plan.most_seconds)}"
    )
    yield (
        "every listed candidate trained in full and judged once, nothing else: "
        f"{say_seconds(plan.exhaustive.mean)} ({_range(plan.exhaustive)})"
    )
    yield f"what would end it: {plan.stops_by.en}"
    yield f"paid endpoints: {plan.money:.2f} {plan.currency} (predicted)"


def _tree(steps: Sequence[GraphStep]) -> Iterator[str]:
    """Yield one line a step, each below the one it starts from; loading and judging of a candidate on one line."""
    below: dict[int | None, list[GraphStep]] = {}
    for step in steps:
        below.setdefault(step.after, []).append(step)
    for root in below.get(None, []):
        yield root.subject
        yield from _branch(root, below, 1)


def _branch(step: GraphStep, below: dict[int | None, list[GraphStep]], depth: int) -> Iterator[str]:
    yield _line(step.name, [step], depth)
    after = below.get(step.number, [])
    measured = [found for found in after if found.kind in {"load", "time", "predict"}]
    for subject, found in groupby(measured, key=lambda item: item.subject):
        yield _line(f"measure {'.'.join(subject.split('.')[2:])}", list(found), depth + 1)
    for made in after:
        if made not in measured:
            yield from _branch(made, below, depth + 1)


def _line(name: str, steps: Sequence[GraphStep], depth: int) -> str:
    mean, low, high = (sum(getattr(step.seconds, part) for step in steps) for part in ("mean", "low", "high"))
    states = {step.state for step in steps}
    state = _STATES[states.pop()] if len(states) == 1 else "partly in the ledger"
    took = sum(step.took or 0.0 for step in steps)
    had = f"{state}, took {say_seconds(took)}" if state == _STATES["done"] else state
    users = len(steps[0].used_by)
    shared = f"{users:>9}" if users > 1 else f"{'':>9}"
    spread = f"{say_seconds(low)} to {say_seconds(high)}"
    return f"{'  ' * depth + name:{_WIDTH}} {shared} {say_seconds(mean):>10}   {spread:17} {had}".rstrip()


def _seconds(found: Seconds) -> str:
    return f"{say_seconds(found.mean):>10}   {_range(found):17}"


def _range(found: Seconds) -> str:
    return f"{say_seconds(found.low)} to {say_seconds(found.high)}"


def _share(fraction: float) -> str:
    return f", up to {100 * fraction:.0f} % of the training rows" if fraction > 0 else ""
