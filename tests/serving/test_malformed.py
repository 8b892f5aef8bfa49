"""Everything a client can get wrong: always a 4xx with a reason, never a 5xx, and the server goes on."""

from __future__ import annotations

import json
import random
import socket
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.running import Running

JSON = {"content-type": "application/json"}

BODIES: list[tuple[str, bytes, int]] = [
    ("empty", b"", 400),
    ("not json", b"hello", 400),
    ("truncated", b'{"texts": ["a"', 400),
    ("trailing", b'{"texts": ["a"]} x', 400),
    ("two documents", b'{"texts": ["a"]}{"texts": ["b"]}', 400),
    ("single quotes", b"{'texts': ['a']}", 400),
    ("comment", b'{"texts": ["a"]} // yes', 400),
    ("invalid utf-8", b'{"texts": ["\xff\xfe"]}', 400),
    ("overlong utf-8", b'{"texts": ["\xc0\xaf"]}', 400),
    ("gb18030", '{"texts": ["很好"]}'.encode("gb18030"), 400),
    ("utf-16", '{"texts": ["a"]}'.encode("utf-16"), 400),
    ("bom", b'\xef\xbb\xbf{"texts": ["a"]}', 400),
    ("lone surrogate", b'{"texts": ["\\ud800"]}', 400),
    ("NaN", b'{"texts": [NaN]}', 400),
    ("Infinity", b'{"rows": [{"text": Infinity}]}', 400),
    ("huge exponent", b'{"texts": [1e999]}', 400),
    ("deep arrays", b"[" * 3000 + b"]" * 3000, 400),
    ("deep objects", b'{"a":' * 3000 + b"1" + b"}" * 3000, 400),
    ("array at the top", b'["a"]', 400),
    ("string at the top", b'"a"', 400),
    ("null at the top", b"null", 400),
    ("number at the top", b"7", 400),
    ("no field", b"{}", 422),
    ("unknown field", b'{"text": ["a"]}', 422),
    ("unknown beside known", b'{"texts": ["a"], "threshold": 1}', 422),
    ("two forms", b'{"texts": ["a"], "rows": [{"text": "a"}]}', 422),
    ("rows not a list", b'{"rows": {"text": "a"}}', 422),
    ("rows null", b'{"rows": null}', 422),
    ("no rows", b'{"rows": []}', 422),
    ("no texts", b'{"texts": []}', 422),
    ("texts a string", b'{"texts": "a"}', 422),
    ("row a string", b'{"rows": ["a"]}', 422),
    ("row null", b'{"row": null}', 422),
    ("row a list", b'{"row": [1]}', 422),
    ("empty row", b'{"rows": [{}]}', 422),
    ("all null", b'{"rows": [{"text": null}]}', 422),
    ("unknown column", b'{"rows": [{"text": "a", "x": 1}]}', 422),
    ("number for text", b'{"rows": [{"text": 7}]}', 422),
    ("boolean for text", b'{"rows": [{"text": true}]}', 422),
    ("list for text", b'{"rows": [{"text": ["a"]}]}', 422),
    ("object for text", b'{"rows": [{"text": {"a": 1}}]}', 422),
    ("null text", b'{"texts": [null]}', 422),
    ("second row wrong", b'{"rows": [{"text": "a"}, {"text": 1}]}', 422),
    ("too many rows", json.dumps({"texts": ["a"] * 51}).encode(), 422),
    ("text too long", json.dumps({"texts": ["a" * 2001]}).encode(), 422),
    ("body too large", json.dumps({"texts": ["a" * 200_000]}).encode(), 413),
]


@pytest.mark.parametrize(("name", "body", "status"), BODIES, ids=[name for name, _, _ in BODIES])
def test_a_malformed_body_is_refused_with_a_reason(texts: Running, name: str, body: bytes, status: int) -> None:
    answer = texts.client.post("/v1/predict", content=body, headers=JSON)
    assert answer.status_code == status, f"{name}: {answer.text}"
    error = answer.json()["error"]
    assert error["status"] == status
    assert error["what"]
    assert texts.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("row", "where"),
    [
        ({"age": "41"}, "rows[1].age"), ({"age": True}, "rows[1].age"), ({"age": [1]}, "rows[1].age"),
        ({"city": 7}, "rows[1].city"), ({"note": 1.5}, "rows[1].note"), ({"Age": 1}, "rows[1].Age"),
    ],
)  # fmt: skip
def test_the_error_names_the_place_and_what_is_allowed(mixed: Running, row: dict[str, Any], where: str) -> None:
    answer = mixed.client.post("/v1/predict", json={"rows": [{"age": 1}, row]})
    assert answer.status_code == 422
    assert answer.json()["error"]["where"] == where


def test_several_columns_have_no_texts_form(mixed: Running) -> None:
    answer = mixed.client.post("/v1/predict", json={"texts": ["a"]})
    assert answer.status_code == 422
    assert answer.json()["error"]["allowed"] == ["row", "rows", "values"]


def test_numbers_beyond_a_double_are_refused(mixed: Running) -> None:
    for number in ("1e400", "-1e400", "9" * 400):
        answer = mixed.client.post("/v1/predict", content=f'{{"row": {{"age": {number}}}}}', headers=JSON)
        assert answer.status_code in {400, 422}, number
    assert (
        mixed.client.post("/v1/predict", content='{"row": {"age": 12345678901234567890123}}', headers=JSON).status_code
        == 200
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {**JSON, "content-encoding": "gzip"},
    ],
)
def test_other_media_are_refused(texts: Running, headers: dict[str, str]) -> None:
    answer = texts.client.post("/v1/predict", content=b'{"texts": ["a"]}', headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/predict", 405), ("PUT", "/v1/predict", 405), ("DELETE", "/v1/predict", 405), ("POST", "/healthz", 405),
        ("POST", "/metrics", 405), ("PATCH", "/v1/contract", 405), ("GET", "/v2/models/reviews/infer", 405),
        ("GET", "/nothing", 404), ("POST", "/v1/predict/", 404), ("GET", "/..%2f..%2fetc/passwd", 404),
        ("POST", "/v2/models/other/infer", 404), ("GET", "/V1/contract", 404), ("OPTIONS", "/nothing", 404),
    ],
)  # fmt: skip
def test_wrong_methods_and_paths(texts: Running, method: str, path: str, status: int) -> None:
    answer = texts.client.request(method, path)
    assert answer.status_code == status
    if status == 405:
        assert answer.headers["allow"] in {"POST", "GET, HEAD"}
    assert "error" in answer.json()


def test_head_answers_without_a_body(texts: Running) -> None:
    answer = texts.client.head("/healthz")
    assert answer.status_code == 200
    assert answer.content == b""


def test_an_oversized_announcement_is_refused_before_the_body_comes(texts: Running) -> None:
    answer = texts.raw(
        b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n"
        b"expect: 100-continue\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413")


def test_an_endless_chunked_body_is_cut_off(texts: Running) -> None:
    def pieces() -> Any:
        yield b'{"texts": ["'
        for _ in range(40):
            yield b"a" * 10_000
        yield b'"]}'

    answer = texts.client.post("/v1/predict", content=pieces(), headers=JSON)
    assert answer.status_code == 413


def test_a_slow_body_gets_408_and_slow_headers_are_cut(texts: Running) -> None:
    answer = texts.raw(
        b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{",
        timeout=8,
    )
    assert answer.startswith(b"HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", texts.port), timeout=15) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\nx-slow: ")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_a_client_that_leaves_mid_body_harms_nobody(texts: Running) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", texts.port)) as connection:
            connection.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
    time.sleep(0.1)
    assert texts.client.post("/v1/predict", json={"texts": ["很好"]}).status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\ncontent-length: -5\r\n\r\n", b"POST /v1/predict HTTP/1.1\r\ncontent-length: abc\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 9\r\n\r\nhello",
        b"POST /v1/predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET " + b"/a" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)  # fmt: skip
def test_bytes_that_are_not_http_do_not_harm(texts: Running, request_bytes: bytes) -> None:
    answer = texts.raw(request_bytes, timeout=3)
    assert b" 500 " not in answer[:40]
    assert texts.client.get("/healthz").status_code == 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["text", "rows", "row", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.dictionaries(st.sampled_from(["row", "rows", "texts", "inputs", "id", "x"]), VALUES, max_size=3))
def test_no_document_is_ever_a_server_error(texts: Running, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode("utf-8", "surrogatepass")
    for path in ("/v1/predict", "/v2/models/reviews/infer"):
        answer = texts.client.post(path, content=body, headers=JSON)
        assert answer.status_code < 500, (path, document, answer.text)


def test_mutated_bodies_are_never_a_server_error(texts: Running) -> None:
    random.seed(0)
    good = bytearray('{"rows": [{"text": "很好 great"}, {"text": "b"}]}'.encode())
    for _ in range(300):
        body = bytearray(good)
        for _ in range(random.randint(1, 4)):
            place = random.randrange(len(body))
            action = random.random()
            if action < 0.4:
                body[place] = random.randrange(256)
            elif action < 0.7:
                del body[place]
            else:
                body.insert(place, random.randrange(256))
        assert texts.client.post("/v1/predict", content=bytes(body), headers=JSON).status_code < 500, bytes(body)


def test_no_row_content_is_logged(texts: Running) -> None:
    secret = "这是一条秘密内容 13800138000"
    texts.client.post("/v1/predict", json={"texts": [secret]})
    texts.client.post("/v1/predict", json={"rows": [{"text": secret, "x": secret}]})
    texts.client.post("/v1/predict", json={"rows": [{"text": [secret]}]})
    texts.client.get(f"/{secret}")
    assert "秘密" not in texts.log()
    assert "13800138000" not in texts.log()
