"""Where what is in a bundle came from, as hashes: data, specification, decision, and the archives of pretrained weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bakeoff import assets
from bakeoff.delivery.promises import verdict_of
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.contract import Archive, Weights
from bakeoff.schema.decision import Decision
from bakeoff.schema.spec import Spec
from bakeoff.tasks.base import positive_class


def provenance(decision: Decision, candidate: Candidate, artifact: Artifact, spec: Spec) -> dict[str, Any]:
    """Return what the manifest says of data, specification and decision."""
    source, verdict = decision.provenance, verdict_of(decision, candidate)
    return {
        "spec_key": source.spec_key,
        "data": source.data,
        "file_sha256": source.file_sha256,
        "seed": source.seed,
        "outcome": decision.outcome,
        "recommended": decision.recommended.id if decision.recommended else None,
        "positive": positive_class(spec, artifact.classes, decision.profile.class_counts),
        "trial": {name: metric.value for name, metric in sorted(verdict.metrics.items())},
    }


def formats(model: Path) -> tuple[str, ...]:
    """Return the formats of an artefact and of the members in it, each once, sorted."""
    cards = (json.loads(path.read_text(encoding="utf-8")) for path in model.rglob("artifact.json"))
    return tuple(sorted({str(card["format"]) for card in cards}))


def weights(candidates: Sequence[Candidate]) -> tuple[Weights, ...]:
    """Return the pretrained weights that candidates (one, or an ensemble's members) were built on, sorted by name."""
    found: dict[str, Weights] = {}
    known = assets.recipes()
    for variant in (candidate.variant for candidate in candidates):
        name = variant.weights or variant.hub
        if name is None:
            continue
        recipe = known.get(name)
        if recipe is None:  # brought by the user from a hub, or a plugin's own
            brought = assets.weights(None, variant.hub)
            digest = assets.content_hash(brought) if brought is not None else None
            found[name] = Weights(name=name, sha256=digest, licence=variant.licence)
            continue
        archives = tuple(
            Archive(package=source.package, version=source.version, filename=source.filename, sha256=source.sha256)
            for source in recipe.sources
        )
        found[name] = Weights(name=name, sha256=recipe.key, licence=recipe.licence, archives=archives)
    return tuple(found[name] for name in sorted(found))
