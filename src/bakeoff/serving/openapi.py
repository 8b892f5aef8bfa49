"""The OpenAPI 3.1 document of one served model; its schemas name the model's own columns and classes."""

from __future__ import annotations

from typing import Any

from bakeoff.data.transforms.tabular import LARGEST
from bakeoff.schema.contract import Manifest
from bakeoff.serving.limits import Limits

_REF = "#/components/schemas/"
_HELD: dict[str, float] = {"minimum": -LARGEST, "maximum": LARGEST}
_GIVEN = {"text": "string", "category": "string", "number": "number"}


_EVENTS: dict[str, dict[str, Any]] = {"chat": {"text/event-stream": {"schema": {}}}}
"""Operations that may also answer with a stream of events."""
_HEALTH = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")


def document(manifest: Manifest, name: str, limits: Limits, *, keyed: bool = False) -> dict[str, Any]:
    """Return the OpenAPI document as JSON data; ``keyed``: clients must show an API key."""
    paths = _paths(manifest, name)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": manifest.bakeoff,
            "description": f"{manifest.label.zh} / {manifest.label.en} ({manifest.candidate})",
            "license": {"name": ", ".join(manifest.licences) or "see the bundle"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _schemas(manifest, name, limits)},
    }
    _guard(paths)
    if keyed:
        bearer = {"type": "http", "scheme": "bearer", "description": "An API key; X-API-Key takes it as well."}
        described["components"]["securitySchemes"] = {"key": bearer}
        described["security"] = [{"key": []}]
        for path in _HEALTH:
            paths[path]["get"]["security"] = []
    return described


def _guard(paths: dict[str, Any]) -> None:
    """Add what every route but the health checks may answer before it is looked at."""
    refusals = {"401": "No API key, or an unknown one", "429": "This client asks too often"}
    for path, methods in paths.items():
        for operation in methods.values():
            responses = operation["responses"]
            error = responses["400"]["content"] if "400" in responses else _content("Problem")
            for status, what in refusals.items() if path not in _HEALTH else ():
                responses[status] = {"description": what, "content": error}
            operation["responses"] = dict(sorted(responses.items()))


def _paths(manifest: Manifest, name: str) -> dict[str, Any]:
    model = f"/v2/models/{name}"
    errors = {
        "400": "Not JSON, or the protocol is broken", "403": "A page of another site asks a server without API keys",
        "408": "The body did not arrive in time", "413": "Body too large",
        "415": "Not application/json", "422": "A row is not what the model reads",
        "503": "Overloaded, unable to compute, or going down; retry", "504": "The model did not answer in time",
    }  # fmt: skip
    chat = {
        "/v1/chat/completions": {
            "post": _post("chat", "OpenAI chat: the label is the answer 对话", "ChatRequest", "ChatResponse",
                          {**errors, "404": "No such model here"}, "ChatError"),
        },
        "/v1/models": {"get": _get("models", "OpenAI: models 模型", "Any")},
    }  # fmt: skip
    return {
        "/v1/predict": {"post": _post("predict", "Predict 预测", "PredictRequest", "PredictResponse", errors, "Error")},
        "/v1/status": {"get": _get("status", "How it computes, and how long one waits 状态", "Any")},
        "/v1/contract": {"get": _get("contract", "The promises of this model 契约", "Contract")},
        "/healthz": {"get": _get("alive", "Liveness 存活", "Any")},
        "/readyz": {"get": _get("ready", "Readiness 就绪", "Any", unready=True)},
        "/metrics": {"get": _text("metrics", "Prometheus metrics 指标", "text/plain")},
        "/openapi.json": {"get": _get("openapi", "This document 本文档", "Any")},
        "/docs": {"get": _text("docs", "A page for people 说明页", "text/html")},
        "/v2": {"get": _get("serverMetadata", "Open Inference Protocol: server", "Any")},
        "/v2/health/live": {"get": _get("v2live", "Open Inference Protocol: live", "Any")},
        "/v2/health/ready": {"get": _get("v2ready", "Open Inference Protocol: ready", "Any", unready=True)},
        model: {"get": _get("modelMetadata", "Open Inference Protocol: model", "Any")},
        f"{model}/ready": {"get": _get("modelReady", "Open Inference Protocol: model ready", "Any", unready=True)},
        f"{model}/infer": {
            "post": _post("infer", "Open Inference Protocol: infer", "InferRequest", "InferResponse", errors, "V2Error")
        },
        **(chat if _reads_text(manifest) else {}),
    }


def _reads_text(manifest: Manifest) -> bool:
    return len(manifest.inputs) == 1 and manifest.inputs[0].kind == "text"


def _post(
    identifier: str, summary: str, request: str, response: str, errors: dict[str, str], error: str
) -> dict[str, Any]:
    return {
        "operationId": identifier,
        "summary": summary,
        "requestBody": {"required": True, "content": _content(request)},
        "responses": {
            "200": {"description": "Answered", "content": _content(response) | _EVENTS.get(identifier, {})},
            **{status: {"description": what, "content": _content(error)} for status, what in errors.items()},
        },
    }


def _get(identifier: str, summary: str, response: str, *, unready: bool = False) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "OK", "content": _content(response)}}
    if unready:
        responses["503"] = {"description": "Not ready", "content": _content("Any")}
    return {"operationId": identifier, "summary": summary, "responses": responses}


def _text(identifier: str, summary: str, media: str) -> dict[str, Any]:
    content = {media: {"schema": {"type": "string"}}}
    return {
        "operationId": identifier,
        "summary": summary,
        "responses": {"200": {"description": "OK", "content": content}},
    }


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF + name}}}


def _schemas(manifest: Manifest, name: str, limits: Limits) -> dict[str, Any]:
    labels = {"type": "string", "enum": list(manifest.classes)}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    prediction = {
        "label": labels,
        "probabilities": {
            "type": "object", "properties": dict.fromkeys(manifest.classes, share), "required": list(manifest.classes),
        },
    }  # fmt: skip
    return {
        "Row": _row(manifest, limits),
        "PredictRequest": {"oneOf": _forms(manifest, limits)},
        "Prediction": {"type": "object", "properties": prediction, "required": list(prediction)},
        "PredictResponse": {"oneOf": [
            {"type": "object", "required": ["model", "predictions"], "properties": {
                "model": {"type": "string"}, "predictions": {"type": "array", "items": {"$ref": _REF + "Prediction"}}}},
            {"type": "object", "required": ["model", *prediction], "properties": {"model": {"type": "string"}, **prediction}},
        ]},
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["status", "what"], "properties": {
                "status": {"type": "integer"}, "what": {"type": "string"}, "where": {"type": "string"},
                "got": {"type": "string"}, "allowed": {}}}}},
        "Problem": {"type": "object", "required": ["error"], "properties": {"error": {}}},
        "V2Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
        "Contract": {"type": "object"},
        "Any": {"type": "object"},
        **_protocol(manifest),
        **(_chat(manifest, name, limits) if _reads_text(manifest) else {}),
    }  # fmt: skip


def _row(manifest: Manifest, limits: Limits) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "text": {"type": ["string", "null"], "maxLength": limits.text},
        "category": {"type": ["string", "null"], "maxLength": limits.text},
        "number": {"type": ["number", "null"], **_HELD},
    }
    return {
        "type": "object",
        "description": "Absent columns and null are missing values; at least one column must be given.",
        "properties": {column.name: kinds[column.kind] for column in manifest.inputs},
        "additionalProperties": False,
        "anyOf": [
            {"required": [column.name], "properties": {column.name: {"type": _GIVEN[column.kind]}}}
            for column in manifest.inputs
        ],
    }


def _forms(manifest: Manifest, limits: Limits) -> list[dict[str, Any]]:
    row = {"$ref": _REF + "Row"}
    many = {"type": "array", "minItems": 1, "maxItems": limits.rows}
    forms: dict[str, dict[str, Any]] = {"row": row, "rows": {**many, "items": row}}
    if _reads_text(manifest):
        forms["texts"] = {**many, "items": {"type": "string", "maxLength": limits.text}}
    cells = [{"type": [_GIVEN[column.kind], "null"], **_bounds(column.kind, limits)} for column in manifest.inputs]
    forms["values"] = {**many, "items": {
        "type": "array", "prefixItems": cells, "items": False, "minItems": len(cells), "maxItems": len(cells),
        "contains": {"not": {"type": "null"}}}}  # fmt: skip
    return [
        {"type": "object", "properties": {name: form}, "required": [name], "additionalProperties": False}
        for name, form in forms.items()
    ]


def _bounds(kind: str, limits: Limits) -> dict[str, float]:
    return _HELD if kind == "number" else {"maxLength": limits.text}


def _protocol(manifest: Manifest) -> dict[str, Any]:
    names = {"type": "string", "enum": [column.name for column in manifest.inputs]}
    tensor = {
        "type": "object", "required": ["name", "shape", "datatype", "data"], "properties": {
            "name": names, "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"}, "data": {"type": "array"}, "parameters": {"type": "object"}},
    }  # fmt: skip
    answer = {**tensor, "properties": {**tensor["properties"], "name": {"type": "string"}}}  # type: ignore[dict-item]
    return {
        "InferRequest": {"type": "object", "required": ["inputs"], "properties": {
            "id": {"type": "string"}, "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": {"type": "object"}}, "parameters": {"type": "object"}}},
        "InferResponse": {"type": "object", "required": ["model_name", "outputs"], "properties": {
            "model_name": {"type": "string"}, "model_version": {"type": "string"}, "id": {"type": "string"},
            "outputs": {"type": "array", "items": answer}}},
    }  # fmt: skip


def _chat(manifest: Manifest, name: str, limits: Limits) -> dict[str, Any]:
    part = {
        "type": "object",
        "required": ["type", "text"],
        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    }
    content = {
        "oneOf": [
            {"type": "string", "maxLength": limits.text},
            {"type": "array", "minItems": 1, "items": part},
            {"type": "null"},
        ]
    }
    message = {
        "type": "object", "required": ["role"],
        "properties": {"role": {"enum": ["system", "developer", "user", "assistant", "tool"]}, "content": content},
    }  # fmt: skip
    return {
        "ChatRequest": {"type": "object", "required": ["model", "messages"], "properties": {
            "model": {"enum": [name, manifest.candidate]}, "n": {"enum": [1, None]}, "stream": {"type": ["boolean", "null"]},
            "messages": {"type": "array", "minItems": 1, "items": message, "contains": {
                "type": "object", "required": ["role"], "properties": {"role": {"const": "user"}}}},
            "logprobs": {"type": ["boolean", "null"]}, "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20}}},
        "ChatResponse": {"type": "object", "required": ["id", "object", "created", "model", "choices"], "properties": {
            "choices": {"type": "array", "minItems": 1}}},
        "ChatError": {"type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["message", "type", "code"], "properties": {"message": {"type": "string"}}}}},
    }  # fmt: skip
