"""What a plugin declares about itself, read by the planner before anything heavy is imported."""

from __future__ import annotations

from pydantic import Field

from bakeoff.schema.base import Record, Words


class Needs(Record):
    """Importable modules a plugin cannot run without, and the extra that brings them."""

    modules: tuple[str, ...] = ()
    extra: str | None = None


class FamilyTraits(Record):
    """A model family's declaration."""

    label: Words
    tasks: tuple[str, ...]
    version: str = Field(
        "1", description="Raise it when the same parameters build something else; part of every build key."
    )
    needs: Needs = Field(default_factory=Needs)
    formats: tuple[str, ...] = Field(description="Artifact formats that build() produces, the native one first.")
    exports: tuple[str, ...] = Field((), description="Formats export() can turn the native one into.")
    export_needs: Needs = Field(default_factory=Needs)
    compressible: tuple[str, ...] = Field((), description="Names of compression passes that make sense, after export.")
    parallel: bool = Field(
        False,
        description="Training may be spread over processes that average their gradients (BuildContext.processes).",
    )
    excuses: dict[str, str] = Field(
        default_factory=dict,
        description="Pass, runtime or check suite item → why it does not apply; 'variant:pass' and 'format:target' narrow it.",
    )


class RuntimeTraits(Record):
    """A runtime's declaration."""

    label: Words
    version: str = "1"
    loads: tuple[str, ...]
    needs: Needs = Field(default_factory=Needs)
    on_request: bool = Field(
        False,
        description="Only tried where candidates.include names it, e.g. '*.openvino', or with the preset rigorous.",
    )


class PassTraits(Record):
    """A compression pass's declaration."""

    label: Words
    version: str = "1"
    consumes: tuple[str, ...]
    produces: str
    needs: Needs = Field(default_factory=Needs)


class CheckTraits(Record):
    """A risk check's declaration."""

    label: Words
    version: str = "1"
    tasks: tuple[str, ...]
    scope: str = Field("candidate", description="'candidate': runs on a loaded candidate; 'data': on the data alone.")
    needs: Needs = Field(default_factory=Needs)
    standards: tuple[str, ...] = ()


class TaskTraits(Record):
    """A task's declaration."""

    label: Words
    metrics: tuple[str, ...]
    default_metric: str
