"""The published JSON Schemas are those of the records, and real documents keep to them."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from bakeoff.schema.publish import FOLDER, decision_schema, main, spec_schema, texts
from tests.schema.texts import DESIGN, MINIMAL


@pytest.mark.parametrize("name", sorted(texts()))
def test_the_published_copy_is_current(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == texts()[name], "stale: run python -m bakeoff.schema.publish"


def test_publishing_again_changes_nothing() -> None:
    before = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    main()
    assert before == {path.name: path.read_bytes() for path in FOLDER.iterdir()}


@pytest.mark.parametrize("schema", [spec_schema(), decision_schema()])
def test_the_schemas_are_valid_and_named(schema: dict[str, object]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert str(schema["$id"]).startswith("urn:bakeoff:schema:")
    assert schema["title"]
    json.dumps(schema)


@pytest.mark.parametrize("text", [MINIMAL, DESIGN])
def test_specifications_that_load_keep_to_the_schema(text: str) -> None:
    jsonschema.validate(yaml.safe_load(text), spec_schema())


@pytest.mark.parametrize("extra", ["floor: 0.8", "requirements: {latency: {p59: 1s}}", "task: speech", "seed: -1"])
def test_the_schema_refuses_what_loading_refuses(extra: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(MINIMAL + extra), spec_schema())


def test_every_field_a_person_writes_is_described() -> None:
    schema = spec_schema()
    bare = [
        f"{name}.{field}"
        for name, record in [("Spec", schema), *schema["$defs"].items()]
        for field, rule in record["properties"].items()
        if not rule.get("description") and not {"$ref", "anyOf"} & set(rule)
    ]
    assert bare == []
