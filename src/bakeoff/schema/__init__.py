"""The records that travel between stages, and the error tree.

Does: names, validation, units, JSON round trips, content keys.
Does not know: files, models, statistics; it imports nothing else of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakeoff.schema.artifact import Artifact, FileEntry, InputColumn, Rule
    from bakeoff.schema.base import Record, Words, canonical, content_key
    from bakeoff.schema.candidate import Candidate, CostPrior, Strategy, Unavailable, Variant
    from bakeoff.schema.contract import Contract, Manifest, Promise
    from bakeoff.schema.decision import (
        CandidateVerdict,
        ConstraintVerdict,
        CurvePoint,
        Decision,
        DecisionProvenance,
        Flip,
        LearningCurve,
        Metric,
        RaceExit,
        RaceLook,
        Recommended,
        Relaxation,
        RunSummary,
    )
    from bakeoff.schema.economics import CostEstimate, CostLine
    from bakeoff.schema.errors import (
        BakeoffError,
        BundleError,
        DataError,
        SpecError,
        StepError,
        StudyError,
        UnavailableError,
        UserError,
    )
    from bakeoff.schema.measurement import Finding, Measurement
    from bakeoff.schema.plugin import CheckTraits, FamilyTraits, Needs, PassTraits, RuntimeTraits, TaskTraits
    from bakeoff.schema.profile import Advice, ColumnProfile, PersonalDataCount, Profile, Split
    from bakeoff.schema.spec import Endpoint, Spec
    from bakeoff.schema.trial import Elimination, Environment, Failure, Fidelity, Proposal, StepResult, Trial

__all__ = [
    "Advice", "Artifact", "BakeoffError", "BundleError", "Candidate", "CandidateVerdict", "CheckTraits", "ColumnProfile",
    "ConstraintVerdict", "Contract", "CostEstimate", "CostLine", "CostPrior", "CurvePoint", "DataError", "Decision",
    "DecisionProvenance", "Elimination", "Endpoint", "Environment", "Failure", "FamilyTraits", "Fidelity", "FileEntry", "Finding", "Flip",
    "InputColumn", "LearningCurve", "Manifest", "Measurement", "Metric", "Needs", "PassTraits", "PersonalDataCount", "Profile",
    "Promise", "Proposal", "RaceExit", "RaceLook", "Recommended", "Record", "Relaxation", "Rule", "RunSummary", "RuntimeTraits", "Spec",
    "SpecError", "Split",
    "StepError", "StepResult", "Strategy", "StudyError", "TaskTraits", "Trial", "Unavailable", "UnavailableError", "UserError",
    "Variant", "Words", "canonical", "content_key",
]  # fmt: skip

_HOMES = {
    "artifact": ("Artifact", "FileEntry", "InputColumn", "Rule"),
    "base": ("Record", "Words", "canonical", "content_key"),
    "candidate": ("Candidate", "CostPrior", "Strategy", "Unavailable", "Variant"),
    "contract": ("Contract", "Manifest", "Promise"),
    "decision": (
        "CandidateVerdict",
        "ConstraintVerdict",
        "CurvePoint",
        "Decision",
        "DecisionProvenance",
        "Flip",
        "LearningCurve",
        "Metric",
        "RaceExit",
        "RaceLook",
        "Recommended",
        "Relaxation",
        "RunSummary",
    ),
    "economics": ("CostEstimate", "CostLine"),
    "errors": (
        "BakeoffError",
        "BundleError",
        "DataError",
        "SpecError",
        "StepError",
        "StudyError",
        "UnavailableError",
        "UserError",
    ),
    "measurement": ("Finding", "Measurement"),
    "plugin": ("CheckTraits", "FamilyTraits", "Needs", "PassTraits", "RuntimeTraits", "TaskTraits"),
    "profile": ("Advice", "ColumnProfile", "PersonalDataCount", "Profile", "Split"),
    "spec": ("Endpoint", "Spec"),
    "trial": ("Elimination", "Environment", "Failure", "Fidelity", "Proposal", "StepResult", "Trial"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute of any kind
    """Import a record when it is first used: building all of them is a quarter of what a server imports."""
    if name not in _HOME:
        message = f"module 'bakeoff.schema' has no attribute '{name}'"
        raise AttributeError(message)
    import importlib

    found = getattr(importlib.import_module(f"bakeoff.schema.{_HOME[name]}"), name)
    globals()[name] = found
    return found
