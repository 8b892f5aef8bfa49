"""The error tree. Facts go to the constructor; the sentence is built here.

BakeoffError               ours unless a subclass says otherwise, exit code 1
├── UserError              the user can mend it, exit code 2, never a traceback
│   ├── SpecError          one or more fields of a specification, all listed at once
│   ├── DataError          the data file or what is in it
│   ├── StudyError         the study folder: locked, moved, from another version
│   ├── BundleError        a bundle that is incomplete, altered or does not keep its contract
│   └── UnavailableError   something optional that is not installed or not fetched
└── StepError              a step of a trial failed; becomes a recorded reason
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SHOWN = 8


class BakeoffError(Exception):
    """Root of every error this package raises on purpose.

    Args:
        what: what is wrong, one clause without a full stop.
        where: file, line, field or step concerned.
        got: the offending value.
        allowed: what would be accepted (a sequence is listed, a string printed as it is).
        try_: what the user can do next.

    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: Any = None,  # noqa: ANN401 - whatever the user wrote
        allowed: Sequence[Any] | str | None = None,
        try_: str | None = None,
    ) -> None:
        self.what, self.where, self.got, self.allowed, self.try_ = what, where, got, allowed, try_
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.got is not None:
            parts.append(f"got {self.got!r}" if not isinstance(self.got, str) else f"got '{self.got[:200]}'")
        if self.allowed is not None:
            parts.append(f"allowed: {_listed(self.allowed)}")
        text = "; ".join(parts)
        return f"{text}\n  try: {self.try_}" if self.try_ else text


def _listed(allowed: Sequence[Any] | str) -> str:
    if isinstance(allowed, str):
        return allowed
    shown = ", ".join(str(item) for item in allowed[:_SHOWN])
    return shown if len(allowed) <= _SHOWN else f"{shown}, … ({len(allowed)} in all)"


class UserError(BakeoffError):
    """The user can mend this; the command line prints it without a traceback and exits with 2."""

    exit_code = 2


class SpecError(UserError):
    """A specification with one or more wrong fields; ``problems`` lists every one of them."""

    def __init__(self, problems: Sequence[BakeoffError], *, where: str | None = None) -> None:
        self.problems = tuple(problems)
        head = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''} in the specification"
        super().__init__("\n".join([head, *(f"- {problem}" for problem in self.problems)]), where=where)


class DataError(UserError):
    """The data file cannot be read, or what is in it cannot be decided upon."""


class StudyError(UserError):
    """The study folder is locked, damaged beyond repair, missing or written by another version."""


class BundleError(UserError):
    """A bundle is incomplete, was altered, or does not keep its contract."""


class UnavailableError(UserError):
    """An optional part (extra, weights, endpoint) is not there; ``try_`` names the command that gets it."""


class StepError(BakeoffError):
    """A step of a trial failed for a reason worth keeping.

    Args:
        code: one of ``schema.trial.FailureCode``.
        what: the reason, one clause.
        zh: the whole reason in Chinese, facts included; empty where the words are a library's own.

    """

    def __init__(self, code: str, what: str, *, zh: str = "", **facts: Any) -> None:  # noqa: ANN401
        self.code, self.zh = code, zh
        super().__init__(what, **facts)
