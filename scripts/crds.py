"""Write tests/delivery/crds/: the schemas of custom resources that a bundle's manifests use, from their projects' own definitions.

    python scripts/crds.py CRD.yaml...

Descriptions go, and so do KServe's predictors of other frameworks, so that megabytes become kilobytes. What the interface server
would drop in silence becomes an error: objects take no unknown fields, unless the definition says that they keep them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

OUT = Path(__file__).resolve().parent.parent / "tests/delivery/crds"
TEXT = {"description", "example", "default", "x-kubernetes-validations"}
OTHERS = {"canary", "explainer", "transformer"}


def strict(node: Any, *, names: bool = False) -> Any:  # noqa: ANN401 - a JSON value
    """Return a schema without texts that refuses unknown fields; ``names``: the keys here are fields, not keywords."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {
        key: strict(value, names=key == "properties" and not names)
        for key, value in node.items()
        if names or key not in TEXT
    }
    if not names and "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    if node.get("x-kubernetes-int-or-string") is True and not names:
        found = {"type": ["integer", "string"]}
    return found


def kserve(schema: dict[str, Any]) -> None:
    """Keep the fields of a predictor of one's own: its containers, its scaling, what any pod has; no frameworks."""
    spec = schema["properties"]["spec"]["properties"]
    for name in OTHERS & set(spec):
        del spec[name]
    fields = spec["predictor"]["properties"]
    fields.pop("workerSpec", None)
    frameworks = {name for name, field in fields.items() if "storageUri" in field.get("properties", {})}
    for name in frameworks:
        del fields[name]


def main() -> None:
    """Write one file for each definition given."""
    OUT.mkdir(exist_ok=True)
    for path in map(Path, sys.argv[1:]):
        definition = next(found for found in yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader) if found)
        spec = definition["spec"]
        version = next(found for found in spec["versions"] if found.get("storage"))
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"].pop("status", None)
        if spec["names"]["kind"] == "InferenceService":
            kserve(schema)
        schema = strict(schema)
        schema["properties"]["metadata"] = {"type": "object"}
        name = f"{spec['names']['kind'].lower()}-{spec['group'].split('.')[0]}-{version['name']}.json"
        text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
        (OUT / name).write_text(text + "\n", encoding="utf-8")
        print(name, len(text))


if __name__ == "__main__":
    main()
