"""A progress bar on standard error, where a person sits; silent in pipes and jobs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_REFRESH = 5


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int, int | None], None]]:
    """Give a function of (rows, position, total or None) that moves the bar."""
    if not sys.stderr.isatty():
        yield lambda _rows, _position, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=_REFRESH) as shown:
        task = shown.add_task(what, total=None, rows="")
        yield lambda rows, position, total: shown.update(task, completed=position, total=total, rows=f"{rows:,}")
