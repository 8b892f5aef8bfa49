"""The records that travel between stages, and the error tree.

Does: names, validation, units, JSON round trips, content keys.
Does not know: files, models, statistics; it imports nothing else of ours.
"""

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
