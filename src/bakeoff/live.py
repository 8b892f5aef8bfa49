"""What a person sees while a study runs: what is running, the leaderboard so far, the time left.

Everything goes to stderr, so that ``--json`` keeps stdout to itself. On a terminal it is redrawn in place; elsewhere one line
per finished trial is enough.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Elimination, Proposal
from bakeoff.schema.units import say_seconds

if TYPE_CHECKING:
    from bakeoff.evaluation.events import Event

_STAGES = {
    "probe": ("试测", "probing"), "rung": ("训练评测", "looking"), "final": ("决赛", "final"), "risk": ("风险检查", "risk checks"),
}  # fmt: skip
_SHOWN = 10


@dataclass
class _Line:
    """One line of the leaderboard so far."""

    candidate: str
    fraction: float = 0.0
    score: float | None = None
    latency: float | None = None
    failed: str = ""
    out: str = ""


@dataclass
class Board:
    """What events have told so far, ready to be drawn."""

    spec: Spec
    started: float = field(default_factory=time.monotonic)
    doing: str = ""
    stage: str = ""
    number: int = 0
    total: int = 0
    lines: dict[str, _Line] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        """Take in one event."""
        line = self.lines.setdefault(event.trial.candidate.id, _Line(event.trial.candidate.id))
        self.stage, self.number, self.total = event.trial.purpose, event.number, event.total
        if event.kind in {"started", "running"}:
            self.doing = f"{event.trial.candidate.id} {event.doing}".strip()
        if event.result is not None and event.result.status == "ok":
            self._measured(line, event)
        if event.kind == "finished" and event.failure is not None:
            line.failed = f"{event.failure.code}: {event.failure.reason}"

    def told(self, proposal: Proposal) -> list[Elimination]:
        """Take in what the search concluded; return who was dropped since the last time."""
        new = []
        for found in proposal.eliminations:
            line = self.lines.setdefault(found.candidate, _Line(found.candidate))
            if not line.out:
                line.out = f"{found.kind}: {found.reason.en}"
                new.append(found)
        return new

    def _measured(self, line: _Line, event: Event) -> None:
        result = event.result
        if result is None:
            return
        score = result.metric(self.spec.requirements.quality.metric)
        if score is not None and result.kind == "predict" and result.fidelity.fraction >= line.fraction:
            line.score, line.fraction = score.value, result.fidelity.fraction
        latency = result.metric("latency_p95") or result.metric("latency_p50")
        if latency is not None and latency.value is not None:
            line.latency = latency.value

    def ranked(self) -> Iterator[_Line]:
        """Lines worth showing: who is still in first, then the best score."""
        yield from sorted(self.lines.values(), key=lambda line: (bool(line.out), -(line.score or -1.0), line.candidate))

    @property
    def elapsed(self) -> float:
        """Seconds since the view opened."""
        return time.monotonic() - self.started

    def headline(self) -> str:
        """Stage, place in it, time gone and time left at most."""
        stage = _STAGES.get(self.stage, ("", "starting"))[1]
        left = max(0.0, 1.5 * self.spec.budget.time - self.elapsed)
        return f"{stage} {self.number}/{self.total} · {say_seconds(self.elapsed)} gone, at most {say_seconds(left)} left · {self.doing}"


class LiveView:
    """Shows a running study on stderr; call it with events, use it as a context manager."""

    def __init__(self, spec: Spec) -> None:
        self.board = Board(spec)
        self._live: Any = None

    def __enter__(self) -> Self:
        """Start redrawing if stderr is a terminal."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self._table(), console=Console(stderr=True), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self.board.hear(event)
        if self._live is not None:
            self._live.update(self._table())
        elif event.kind == "finished" and not event.reused:
            print(self._plain(event), file=sys.stderr, flush=True)

    def proposed(self, proposal: Proposal) -> None:
        """Show who was dropped, and why, as soon as the search has concluded it."""
        new = self.board.told(proposal)
        if self._live is not None:
            self._live.update(self._table())
            return
        for found in new:
            print(
                f"[{self.board.elapsed:6.1f}s] dropped ({found.kind})  {found.candidate}: {found.reason.en}",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    def _plain(self, event: Event) -> str:
        line = self.board.lines[event.trial.candidate.id]
        stage = _STAGES.get(event.trial.purpose, ("", event.trial.purpose))[1]
        score = (
            ""
            if line.score is None
            else f"  {self.board.spec.requirements.quality.metric} {line.score:.3f} at {line.fraction:.0%}"
        )
        latency = "" if line.latency is None else f"  p95 {say_seconds(line.latency)}"
        failed = f"  failed, {line.failed}" if event.failure is not None else ""
        return f"[{self.board.elapsed:6.1f}s] {stage} {event.number}/{event.total}  {line.candidate}{score}{latency}{failed}"

    def _table(self) -> Any:  # noqa: ANN401 - a rich renderable
        from rich.table import Table

        metric = self.board.spec.requirements.quality.metric
        table = Table(title=f"{self.board.spec.name} · {self.board.headline()}", title_justify="left", expand=False)
        for name, justify in (
            ("candidate", "left"),
            (metric, "right"),
            ("train rows", "right"),
            ("p95", "right"),
            ("", "left"),
        ):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for line in list(self.board.ranked())[:_SHOWN]:
            table.add_row(
                line.candidate,
                "" if line.score is None else f"{line.score:.3f}",
                "" if line.score is None else f"{line.fraction:.0%}",
                "" if line.latency is None else say_seconds(line.latency),
                (line.failed or line.out)[:60],
            )
        return table
