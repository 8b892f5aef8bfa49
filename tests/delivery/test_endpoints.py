"""Where a bundle's model may send rows and keys: nowhere, unless somebody trusted signed it or the operator named the place."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bakeoff.cli import main
from bakeoff.delivery import readme, sealing
from bakeoff.delivery.sealing import Seal
from bakeoff.runtimes import endpoints, sealed, signing
from bakeoff.runtimes.keys import Keys
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.contract import Contract
from bakeoff.schema.errors import BundleError, UserError
from bakeoff.serving.model import load, open_bundle
from benchmarks import _tampering as tampering

pytest.importorskip("httpx")
_REPLY = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "good"}}]}


class Endpoint:
    """A real server that writes down which key it was sent."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.seen.append(self.headers.get("Authorization"))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(_REPLY).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("SOME_TOKEN", "the token")
    monkeypatch.setenv(endpoints.ALLOW, "")
    monkeypatch.delenv(endpoints.ALLOW)
    found = Endpoint()
    yield found
    found.close()


def hostile(bundle: Path, url: str, variable: str = "SOME_TOKEN", *, member: bool = False) -> Path:
    """Rewrite a bundle so that its model asks ``url``, with every hash right."""
    model = bundle / "model"
    told = Artifact.model_validate_json((model / "artifact.json").read_bytes())
    shutil.rmtree(model)
    place = model / "members" / "0" if member else model
    place.mkdir(parents=True)
    prompt: dict[str, Any] = {
        "messages": [{"role": "user", "content": "@@ROW@@"}], "answers": ["bad", "good"], "words": ["bad", "good"], "bias": [0.0, 0.0],
    }  # fmt: skip
    (place / "prompt.json").write_text(json.dumps(prompt))
    asking = told.model_copy(
        update={
            "format": "openai-prompt", "meta": {"url": url, "model": "m", "api_key_env": variable},
            "transform": {"columns": ["text"], "separator": " "}, "files": sealed.entries(place),
        }
    )  # fmt: skip
    (place / "artifact.json").write_text(asking.model_dump_json())
    if member:
        listed = [{"path": "members/0", "runtime": "openai_api", "weight": 1.0, "candidate": "x"}]
        above = told.model_copy(
            update={"format": "ensemble", "meta": {"members": listed}, "transform": {}, "files": sealed.entries(model)}
        )
        (model / "artifact.json").write_text(above.model_dump_json())
    tampering.relist(bundle)
    tampering.forge(bundle, lambda document: document.update(runtime="composite" if member else "openai_api"))
    return bundle


@pytest.mark.parametrize("member", [False, True])
def test_an_unsigned_bundle_asks_no_endpoint_that_nobody_allowed(
    copy: Path, endpoint: Endpoint, *, member: bool
) -> None:
    bundle = hostile(copy, endpoint.url, member=member)
    with pytest.raises(BundleError, match="endpoint"):
        load(open_bundle(bundle, Keys()))
    with pytest.raises(BundleError, match="endpoint"):
        load(open_bundle(bundle, Keys(endpoints=("http://127.0.0.1:9/v1",))))
    assert endpoint.seen == []
    load(open_bundle(bundle, Keys(endpoints=(endpoint.url,)))).classifier.close()
    assert set(endpoint.seen) == {"Bearer the token"}


def test_a_signature_that_is_only_there_allows_nothing_and_a_trusted_one_does(
    copy: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    signing.generate(tmp_path / "key")
    bundle = hostile(copy, endpoint.url)
    manifest = sealed.read_manifest(bundle)
    for name in (sealed.MANIFEST, sealed.CHECKSUM):
        (bundle / name).unlink()
    sealing.close(bundle, manifest, Seal.given(str(tmp_path / "key"), None))
    with pytest.raises(BundleError, match="endpoint"):
        load(open_bundle(bundle, Keys()))
    assert endpoint.seen == []
    load(open_bundle(bundle, Keys(verify=str(tmp_path / "key.pub")))).classifier.close()
    assert endpoint.seen


@pytest.mark.parametrize("variable", ["BAKEOFF_BUNDLE_KEY", "bakeoff_key_passphrase"])
def test_the_keys_of_bundles_are_never_sent(
    copy: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    bundle = hostile(copy, endpoint.url, variable)
    opened = open_bundle(bundle, Keys(endpoints=(endpoint.url,)))
    monkeypatch.setenv(variable, "00" * 32)
    with pytest.raises(BundleError, match="Bakeoff's own"):
        load(opened)
    assert endpoint.seen == []


@pytest.mark.parametrize("verb", ["predict", "verify"])
def test_the_command_line_needs_the_flag_or_the_variable(
    copy: Path,
    endpoint: Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
) -> None:
    bundle = hostile(copy, endpoint.url)
    (tmp_path / "rows.jsonl").write_text('{"text": "good"}\n')
    more = (
        [str(tmp_path / "rows.jsonl"), "-o", str(tmp_path / "out.csv"), "--force"] if verb == "predict" else ["--quick"]
    )
    command = [verb, str(bundle), *more]
    assert main(command) == 2
    assert endpoint.seen == []
    assert "--allow-endpoint" in capsys.readouterr().err
    main([*command, "--allow-endpoint", endpoint.url])
    asked = len(endpoint.seen)
    assert asked
    monkeypatch.setenv(endpoints.ALLOW, f"https://example.org {endpoint.url}")
    main(command)
    assert len(endpoint.seen) > asked


@pytest.mark.parametrize(
    ("permitted", "url", "same"),
    [
        ("https://a.example", "https://a.example/v1", True),
        ("https://A.example:443/v1", "https://a.example/v1/", True),
        ("https://a.example/v1", "https://a.example/v1/x", True),
        ("https://a.example/v1", "https://a.example/v11", False),
        ("https://a.example/v1", "https://a.example/", False),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:8443", False),
        ("https://a.example", "https://a.example.evil/v1", False),
        ("https://a.example", "https://a.example@evil/v1", False),
        ("https://a.example", "https://evil\\@a.example/v1", False),
        ("https://a.example", "https://a.example#@evil/", False),
        ("https://a.example/v1", "https://a.example/v1/../admin", False),
        ("https://a.example/v1", "https://a.example/v1/%2e%2e/admin", False),
        ("https://a.example", "file:///etc/passwd", False),
        ("http://[::1]:8000", "http://[::1]:8000/v1", True),
    ],
)
def test_which_endpoints_a_permission_covers(permitted: str, url: str, *, same: bool) -> None:
    artifact = Artifact(format="openai-prompt", task="t", classes=("a", "b"), inputs=(), meta={"url": url})
    if same:
        endpoints.check([artifact], [permitted], trusted=False)
    else:
        with pytest.raises(BundleError):
            endpoints.check([artifact], [permitted], trusted=False)


@pytest.mark.parametrize("signed", [True, False])
def test_the_readme_says_what_the_model_asks(shipped: Path, *, signed: bool) -> None:
    manifest = sealed.read_manifest(shipped).model_copy(update={"formats": ("openai-prompt",)})
    contract = Contract.model_validate_json((shipped / "contract.json").read_bytes())
    text = readme.readme(manifest, contract, "image:1", signed=signed)
    assert ("bakeoff verify . --allow-endpoint URL" in text) is not signed
    assert text.count("bakeoff.serving . --allow-endpoint URL") == (0 if signed else 2)
    assert text.count("-e BAKEOFF_ALLOW_ENDPOINT=URL") == (0 if signed else 2)


def test_a_permission_that_is_no_url_is_a_mistake() -> None:
    for wrong in ("a.example", "https://", "*", "https://u:p@a.example"):
        with pytest.raises(UserError, match="allow-endpoint"):
            Keys.given(allowed=(wrong,))
