"""The bill of materials: sound by the published schema, complete, and the same for the same bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from rfc3986_validator import validate_rfc3986

from bakeoff.delivery import locks, provenance, sbom
from bakeoff.runtimes import sealed
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate, Variant
from bakeoff.schema.contract import Contract, Manifest
from tests.delivery import making


@pytest.fixture
def bill(shipped: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shipped / sbom.FILE).read_text())
    return found


def valid(text: str) -> None:
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert errors is None, errors
    for address in addresses(json.loads(text)):  # the validator knows the format iri-reference only with a slow package
        assert validate_rfc3986(address, rule="URI_reference"), address


def addresses(found: Any) -> Iterator[str]:
    """Yield what the schema wants to be an address."""
    if isinstance(found, dict):
        yield from (value for name, value in found.items() if name in {"url", "$schema"} and isinstance(value, str))
        for value in found.values():
            yield from addresses(value)
    elif isinstance(found, list):
        for value in found:
            yield from addresses(value)


def parts(bill: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in bill["components"] if part["type"] == kind}


def test_the_published_schema_takes_it(shipped: Path) -> None:
    valid((shipped / sbom.FILE).read_text())


def test_the_validator_would_notice(bill: dict[str, Any]) -> None:
    kind, bill["components"][0]["type"] = bill["components"][0]["type"], "something"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is not None
    bill["components"][0] |= {"type": kind, "externalReferences": [{"type": "website", "url": "not an address"}]}
    with pytest.raises(AssertionError, match="not an address"):
        valid(json.dumps(bill))


def test_every_pinned_distribution_is_in_it_with_its_licence(shipped: Path, bill: dict[str, Any]) -> None:
    libraries = parts(bill, "library")
    pins = sealed.read_manifest(shipped).packages
    assert set(pins) | {"bakeoff"} <= set(libraries)
    for name, version in pins.items():
        assert libraries[name]["purl"] == f"pkg:pypi/{name}@{version}"
        assert libraries[name]["licenses"]
        wheels = [row["hashes"][0]["content"] for row in libraries[name].get("externalReferences", [])]
        assert wheels == sorted(locks.hashes(name, version))
    wheel = next((shipped / "wheels").glob("*.whl"))
    assert libraries["bakeoff"]["hashes"] == [{"alg": "SHA-256", "content": sealed.digest(wheel)}]


def test_the_model_names_every_file_with_its_hash_and_the_data_by_hash_alone(
    shipped: Path, bill: dict[str, Any]
) -> None:
    (model,) = parts(bill, "machine-learning-model").values()
    found = {part["name"]: part["hashes"][0]["content"] for part in model["components"]}
    expected = {f"model/{path.name}": sealed.digest(path) for path in (shipped / "model").iterdir()}
    assert found == expected
    metrics = {row["type"]: row["value"] for row in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]}
    assert metrics["macro_f1"] == "0.94"
    (data,) = parts(bill, "data").values()
    assert data["hashes"][0]["content"] == "f" * 64
    assert "很好" not in json.dumps(bill, ensure_ascii=False)


def test_nothing_in_it_depends_on_the_time_or_on_chance(shipped: Path, bill: dict[str, Any], tmp_path: Path) -> None:
    making.bundle(tmp_path)
    assert (tmp_path / "bundle" / sbom.FILE).read_bytes() == (shipped / sbom.FILE).read_bytes()
    assert "timestamp" not in json.dumps(bill)


def test_what_the_lock_file_adds_is_in_it(shipped: Path, tmp_path: Path) -> None:
    manifest = Manifest.model_validate_json((shipped / "manifest.json").read_bytes())
    contract = Contract.model_validate_json((shipped / "contract.json").read_bytes())
    for name in ("model", "wheels"):
        (tmp_path / name).symlink_to(shipped / name)
    (tmp_path / locks.FILE).write_text(
        "# locked\nh11==0.16.0 \\\n    --hash=sha256:aa\ntyping_extensions==4.16.0 ; python_version < '3.13'\n"
    )
    text = sbom.document(tmp_path, manifest, contract, {"torch": "2.13.0+cpu"})
    valid(text)
    libraries = parts(json.loads(text), "library")
    assert {"h11", "typing-extensions", "torch", "bakeoff"} <= set(libraries)
    assert libraries["torch"]["purl"] == "pkg:pypi/torch@2.13.0%2Bcpu"


def candidate(name: str | None, hub: str | None = None) -> Candidate:
    label = Words(zh="模型", en="model")
    variant = Variant(name="small", label=label, weights=name, hub=hub, licence="MIT")
    return Candidate(family="encoder", variant=variant, runtime="pytorch", label=label)


def test_weights_are_named_with_the_archives_they_came_from() -> None:
    found = provenance.weights([candidate("wordllama-256"), candidate(None, "someone/net"), candidate(None)])
    assert [weights.name for weights in found] == ["someone/net", "wordllama-256"]
    known = found[1]
    assert known.sha256 is not None
    assert len(known.sha256) == 64
    assert known.archives
    assert all(len(archive.sha256) == 64 for archive in known.archives)
    assert (found[0].sha256, found[0].licence, found[0].archives) == (None, "MIT", ())  # not on this machine


def test_weights_are_the_models_ancestors_in_the_bill(shipped: Path) -> None:
    manifest = Manifest.model_validate_json((shipped / "manifest.json").read_bytes())
    contract = Contract.model_validate_json((shipped / "contract.json").read_bytes())
    found = provenance.weights([candidate("wordllama-256"), candidate(None, "someone/net")])
    text = sbom.document(
        shipped, manifest.model_copy(update={"weights": found, "licences": ("MIT", "unstated")}), contract, {}
    )
    valid(text)
    (model,) = parts(json.loads(text), "machine-learning-model").values()
    ancestors = {part["name"]: part for part in model["pedigree"]["ancestors"]}
    archive = ancestors["wordllama-256"]["components"][0]
    assert archive["hashes"][0]["content"] == found[1].archives[0].sha256
    assert model["licenses"] == [{"license": {"id": "MIT"}}, {"license": {"name": "unstated"}}]


def test_the_manifest_repeats_the_contracts_hash_and_the_formats(shipped: Path) -> None:
    manifest = sealed.read_manifest(shipped)
    assert manifest.contract == hashlib.sha256((shipped / "contract.json").read_bytes()).hexdigest()
    assert manifest.formats == ("tfidf-linear",)
