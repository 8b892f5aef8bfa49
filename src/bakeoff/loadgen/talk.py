"""Asks a server, before any load, what it serves and promises: the contract, and the model's own metadata."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from bakeoff.loadgen.client import address
from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.contract import Contract
from bakeoff.schema.errors import UserError

Headers = Sequence[tuple[str, str]]
_TIMEOUT = 10.0
_LARGEST = 16 << 20
_TEXT = "text"
_UNKNOWN_SIGNERS = range(18, 22)
"""OpenSSL's codes of a chain that ends in nobody who is trusted; of an expired certificate or another name no file helps."""


@dataclass(frozen=True)
class Described:
    """What a server says of itself; parts it does not say are None."""

    contract: Contract | None
    model: str | None
    inputs: tuple[InputColumn, ...] | None
    ours: bool


def ask(url: str, path: str, headers: Headers = (), ca: str | None = None) -> tuple[int, bytes]:
    """GET one path; return status and body. ``ca`` is a PEM file of the authorities to trust in place of the system's.

    Raises:
        UserError: nobody answers there, or nobody whose certificate is trusted.

    """
    connection = _connection(url, ca)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(_LARGEST)
    except ssl.SSLCertVerificationError as error:
        what = f"the server's certificate is not trusted: {error.verify_message}"
        hint = "--ca FILE: who signed it, or the certificate itself" if error.verify_code in _UNKNOWN_SIGNERS else None
        raise UserError(what, where=url, try_=hint) from None
    except (OSError, HTTPException) as error:
        what = f"the server does not answer: {str(error) or type(error).__name__}"
        raise UserError(what, where=url, try_="check that it runs and the address") from None
    finally:
        connection.close()


def _connection(url: str, ca: str | None) -> HTTPConnection:
    host, port, tls = address(url)
    if not tls:
        return HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        return HTTPSConnection(host, port, timeout=_TIMEOUT, context=ssl.create_default_context(cafile=ca))
    except (OSError, ssl.SSLError) as error:
        what = f"no certificates can be read there: {error.strerror or error}"
        raise UserError(what, where=f"--ca {ca}") from None


def describe(url: str, model: str | None = None, headers: Headers = (), ca: str | None = None) -> Described:
    """Ask a server for its contract and its model's inputs."""
    contract = _contract(*ask(url, "/v1/contract", headers, ca))
    name = model or _model(*ask(url, "/openapi.json", headers, ca))
    inputs = None
    if name is not None:
        status, body = ask(url, f"/v2/models/{quote(name)}", headers, ca)
        inputs = _inputs(_json(body)) if status == 200 else None
        if model is not None and inputs is None:
            what = "the server says nothing of this model"
            raise UserError(what, where=f"{url}/v2/models/{name}", got=f"status {status}", try_="check --model")
    return Described(contract, name, inputs, contract is not None)


def base(url: str) -> str:
    """Return scheme and host of a URL, without a path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _contract(status: int, body: bytes) -> Contract | None:
    if status == 401:
        what = "the server wants an API key"
        raise UserError(what, try_="--header 'Authorization: Bearer KEY', or @FILE in place of the value")
    try:
        return Contract.model_validate_json(body) if status == 200 else None
    except ValidationError:
        return None


def _model(status: int, body: bytes) -> str | None:
    document = _json(body) if status == 200 else None
    paths = document.get("paths", {}) if isinstance(document, dict) else {}
    found = (re.fullmatch(r"/v2/models/([^/{}]+)/infer", path) for path in paths)
    return next((match[1] for match in found if match), None)


def _inputs(document: Any) -> tuple[InputColumn, ...] | None:  # noqa: ANN401 - any JSON document
    """Return the columns of model metadata; None where a tensor is not one value a row."""
    try:
        tensors = document["inputs"]
        if not all(len(tensor["shape"]) == 1 or list(tensor["shape"][1:]) == [1] for tensor in tensors):
            return None
        kinds = {"BYTES": _TEXT}
        columns = [{"name": tensor["name"], "kind": kinds.get(tensor["datatype"], "number")} for tensor in tensors]
        return tuple(InputColumn.model_validate(column) for column in columns)
    except (KeyError, TypeError, ValidationError):
        return None


def _json(body: bytes) -> Any:  # noqa: ANN401 - any JSON document
    try:
        return json.loads(body)
    except ValueError:
        return None
