"""What a person sees while a study runs: what is running, the leaderboard so far, the time left. Goes to stderr."""

from __future__ import annotations

from bakeoff.search import Plan
from bakeoff.schema.units import say_seconds


def plan_text(plan: Plan) -> str:
    """Return a plan as a table for people."""
    lines = [
        f"{plan.study}: {plan.task}, preset {plan.preset}, {plan.profile.rows_used} rows "
        f"(train {plan.profile.split.train}, calibrate {plan.profile.split.calibrate}, "
        f"select {plan.profile.split.select}, confirm {plan.profile.split.confirm})",
        "",
        f"{'candidate':48} {'probe':>8} {'rung 1':>8} {'full':>9}   (predicted)",
    ]
    lines += [
        f"{item.id:48} {say_seconds(item.probe_seconds):>8} {say_seconds(item.first_rung_seconds):>8} {say_seconds(item.full_seconds):>9}"
        for item in plan.candidates
    ]
    if plan.unavailable:
        lines += ["", f"unavailable ({len(plan.unavailable)}):"]
        lines += [f"  {item.id:46} {item.reason.en}" + (f"\n    → {item.command}" if item.command else "") for item in plan.unavailable]
    lines += [
        "",
        f"expected {say_seconds(plan.expected_seconds)} (predicted), at most {say_seconds(plan.most_seconds)}; "
        f"paid endpoints: {plan.money:.2f} {plan.currency} (predicted)",
    ]
    return "\n".join(lines)
