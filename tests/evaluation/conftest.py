from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bakeoff.data.freeze import prepare
from bakeoff.data.frozen import Frozen
from bakeoff.evaluation.events import Event
from bakeoff.evaluation.executor import Executor
from bakeoff.evaluation.launchers.base import Launcher
from bakeoff.registry import INJECT
from bakeoff.schema import Candidate, Fidelity, Spec, StepResult, Trial
from bakeoff.store.archive import Archive


@dataclass
class Laboratory:
    """A small study in a folder of its own, and ways to run trials in it."""

    directory: Path
    spec: Spec
    frozen: Frozen
    events: list[Event] = field(default_factory=list)
    launcher: Callable[[], Launcher | None] = lambda: None

    def run(
        self,
        trials: Sequence[Trial],
        *,
        workers: int = 1,
        deadline: float | None = None,
        hook: Callable[[Event], None] | None = None,
    ) -> None:
        """Run trials in a fresh executor, as a new run of the study would."""
        self.events = []

        def note(event: Event) -> None:
            self.events.append(event)
            if hook is not None:
                hook(event)

        candidates = {trial.candidate.id: trial.candidate for trial in trials}
        with Archive.writing(self.directory) as archive:
            known = {c.id: c for c in archive.evidence().candidates} if archive.ledger.document("spec") else {}
            archive.begin(self.spec, self.frozen.profile, list((known | candidates).values()), [])
            with Executor(
                archive, self.frozen, self.spec, workers=workers, on_event=note, launcher=self.launcher()
            ) as executor:
                executor.run(trials, deadline=deadline)

    def rows(self, name: str | None = None) -> list[StepResult]:
        """Return the ledger's rows, of one candidate if it is named."""
        found = [row.result for row in Archive(self.directory).evidence().results]
        return [row for row in found if name is None or row.candidate.split(".")[1] == name]

    def done(self) -> list[str]:
        """Return the names of the steps that were really done in the last run."""
        return [
            event.result.name for event in self.events if event.kind == "step" and event.result and not event.reused
        ]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file of 400 different rows."""
    rng = random.Random(0)
    letters = "abcdefghijklmnop"
    lines = ["text,label"]
    lines += [
        f"{' '.join(rng.choices(letters, k=rng.randint(6, 20)))} {number},{rng.choice(['pos', 'neg'])}"
        for number in range(400)
    ]
    path = tmp_path_factory.mktemp("data") / "data.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def make_spec(table: Path) -> Callable[..., Spec]:
    """Specifications for that file; keyword arguments are sections."""

    def make(**sections: Any) -> Spec:
        data = {"file": str(table), "input": "text", "target": "label"}
        plain = {
            "name": "t",
            "task": "text-classification",
            "preset": "quick",
            "requirements": {"latency": {"p95": "50ms"}},
        }
        return Spec.model_validate({**plain, "data": data, **sections})

    return make


@pytest.fixture(scope="session")
def frozen(make_spec: Callable[..., Spec], table: Path) -> Frozen:
    return prepare(make_spec(), table.parent)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the public fakes known as plugins, in workers too."""
    monkeypatch.setenv(INJECT, "bakeoff.testing:PLUGINS")


@pytest.fixture
def laboratory(tmp_path: Path, make_spec: Callable[..., Spec], frozen: Frozen, fakes: None) -> Laboratory:
    return Laboratory(tmp_path / "study", make_spec(), frozen)


@pytest.fixture
def trial() -> Callable[..., Trial]:
    """Trials of a candidate by purpose."""

    def make(candidate: Candidate, purpose: str = "rung", **changes: Any) -> Trial:
        fidelity: dict[str, Any] = {"fraction": 0.5, "limit": 60}
        if purpose == "probe":
            fidelity = {"fraction": 0.0, "probe": True}
        if purpose in {"final", "risk"}:
            fidelity["split"] = "confirm"
        fidelity |= {name: changes.pop(name) for name in list(changes) if name in Fidelity.model_fields}
        plain = {"rung": 0 if purpose == "rung" else None, "round": 0 if purpose == "final" else None}
        return Trial.model_validate(
            {"candidate": candidate, "purpose": purpose, "fidelity": fidelity, **plain, **changes}
        )

    return make
