"""The published JSON Schemas: ``python -m bakeoff.schema.publish`` writes them again, a test fails when they are stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bakeoff.schema.decision import Decision
from bakeoff.schema.spec import Spec

FOLDER = Path(__file__).parent / "json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def spec_schema() -> dict[str, Any]:
    """Return the JSON Schema of a specification file, for editors that complete and check YAML."""
    return _titled(Spec.model_json_schema(mode="validation"), "Bakeoff requirement specification", "spec")


def decision_schema() -> dict[str, Any]:
    """Return the JSON Schema of the decision document, as ``bakeoff decide --json`` prints it."""
    return _titled(Decision.model_json_schema(mode="serialization"), "Bakeoff decision", "decision")


def _titled(schema: dict[str, Any], title: str, name: str) -> dict[str, Any]:
    head = {"$schema": _DIALECT, "$id": f"urn:bakeoff:schema:{name}:1", "title": title}
    return {**head, **{key: value for key, value in schema.items() if key not in head}}


def texts() -> dict[str, str]:
    """Return file name → content of every published schema."""
    schemas = {"spec.schema.json": spec_schema(), "decision.schema.json": decision_schema()}
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def main() -> None:
    """Write every schema to ``bakeoff/schema/json``."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
