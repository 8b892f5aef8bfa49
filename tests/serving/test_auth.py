"""API keys: made once, kept as hashes, told apart, revoked; and how often one client may ask."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bakeoff.schema.errors import UserError
from bakeoff.serving import auth
from bakeoff.serving.problems import Problem
from bakeoff.serving.rates import Rates


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_shown_once_and_only_its_hash_is_kept(file: Path) -> None:
    secret = auth.add(file, "shop")
    assert len(secret) > 40
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [key.name for key in auth.read(file)] == ["shop"]


def test_keys_are_recognised_in_both_headers_whatever_the_case(file: Path) -> None:
    secret, keys = auth.add(file, "shop").encode(), None
    auth.add(file, "desk")
    keys = auth.Keys(file)
    assert keys.client(b"Bearer " + secret) == "shop"
    assert keys.client(b"bearer  " + secret) == "shop"
    assert keys.client(None, secret) == "shop"


@pytest.mark.parametrize(
    "given", [None, b"", b"Bearer", b"Bearer ", b"Basic abc", b"Bearer bk_wrong", b"Bearer \xff\xfe", b"bk_naked"]
)
def test_anything_else_is_refused_with_401_and_says_how(file: Path, given: bytes | None) -> None:
    auth.add(file, "shop")
    with pytest.raises(Problem) as refused:
        auth.Keys(file).client(given)
    assert refused.value.status == 401
    assert (b"www-authenticate", b"Bearer") in refused.value.headers
    assert "shop" not in refused.value.body().decode()


def test_a_revoked_key_ends_and_a_new_one_begins_without_a_restart(file: Path) -> None:
    old, kept = auth.add(file, "old").encode(), auth.add(file, "kept").encode()
    keys = auth.Keys(file)
    auth.revoke(file, "old")
    new = auth.add(file, "new").encode()
    keys.refresh()
    with pytest.raises(Problem):
        keys.client(None, old)
    assert (keys.client(None, kept), keys.client(None, new)) == ("kept", "new")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"name": "a", "sha256": "zz", "created": ""}]', "[" * 100_000])
def test_a_damaged_file_is_refused(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(UserError, match="not a file of API keys"):
        auth.read(file)


def test_who_may_read_the_file_stays_as_it_was(file: Path, tmp_path: Path) -> None:
    auth.add(file, "shop")
    file.chmod(0o644)
    link = tmp_path / "link.json"
    link.symlink_to(file)
    auth.add(link, "desk")
    auth.revoke(link, "shop")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert link.is_symlink()
    assert [key.name for key in auth.read(file)] == ["desk"]


def test_mistakes_are_told(file: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        auth.Keys(file)
    file.write_text("[]")
    with pytest.raises(UserError, match="nobody could ask"):
        auth.Keys(file)
    auth.add(file, "shop")
    with pytest.raises(UserError, match="of this name already"):
        auth.add(file, "shop")
    with pytest.raises(UserError, match="no key of this name"):
        auth.revoke(file, "desk")
    with pytest.raises(UserError, match="printable"):
        auth.add(file, "a\nb")


def test_a_file_emptied_while_serving_lets_nobody_in(file: Path) -> None:
    secret = auth.add(file, "shop").encode()
    keys = auth.Keys(file)
    auth.revoke(file, "shop")
    keys.refresh()
    with pytest.raises(Problem):
        keys.client(None, secret)
    assert json.loads(file.read_text()) == []


def test_a_bucket_allows_its_burst_then_its_rate_and_names_the_wait() -> None:
    rates = Rates(rate=2.0, burst=3.0)
    for _ in range(3):
        rates.take("shop", 10.0)
    with pytest.raises(Problem) as refused:
        rates.take("shop", 10.0)
    assert refused.value.status == 429
    assert dict(refused.value.headers)[b"retry-after"] == b"1"
    rates.take("desk", 10.0)  # another client is not concerned
    rates.take("shop", 10.5)  # half a second later there is one token again
    with pytest.raises(Problem):
        rates.take("shop", 10.5)


def test_over_a_long_time_a_client_gets_its_rate_and_no_more() -> None:
    rates, answered = Rates(rate=5.0, burst=1.0), 0
    for step in range(10_000):  # a request every 10 ms for 100 s
        try:
            rates.take("shop", step / 100)
        except Problem:
            continue
        answered += 1
    assert 480 <= answered <= 501


def test_buckets_do_not_grow_with_clients() -> None:
    rates = Rates(rate=1.0, burst=1.0)
    for client in range(30_000):
        rates.take(str(client), 0.0)
    assert len(rates._buckets) == 10_000
