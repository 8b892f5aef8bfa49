"""No address shows its password, whatever was typed; what is an address without one stays as it is."""

from __future__ import annotations

import pytest

from bakeoff.schema import StudyError
from bakeoff.store.addresses import misread, scrubbed, without_password
from bakeoff.store.objects import Objects
from bakeoff.store.postgres_link import Address


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner@host:5432/db#study", "postgresql://host:5432/db", "postgresql:///db?host=/tmp", "s3://bucket/a:b@c",
        "postgresql://u@h1:5432,h2:5432/db?application_name=a@b", "file:///mnt/a@b", "sftp://me@host:22/x@y?a=b#c", "C:/a@b",
        "/plain/a@b", "postgresql://owner@host/db#a%40b",
    ],
)  # fmt: skip
def test_an_address_without_password_stays_as_it_is(url: str) -> None:
    assert without_password(url) == url
    assert not misread(url)
    assert scrubbed(url, url) == url


@pytest.mark.parametrize(
    ("url", "shown", "unclear"),
    [
        ("postgresql://owner:s3cr3t@host/db", "postgresql://owner@host/db", False),
        ("postgresql://:s3cr3t@host/db", "postgresql://@host/db", False),
        ("postgresql://owner:s3%2Fcr3t@h1:1,h2:2/db?a=b", "postgresql://owner@h1:1,h2:2/db?a=b", False),
        ("postgresql://owner:s3/cr3t@host/db", "postgresql://owner@host/db", True),
        ("postgresql://owner:1/s3cr3t@host/db", "postgresql://owner@host/db", True),
        ("postgresql://owner:s3?cr3t@host/db", "postgresql://owner@host/db", True),
        ("postgresql://owner:s3#cr3t@host/db", "postgresql://owner@host/db", True),
        ("postgresql://owner:s3@cr3t@host/db", "postgresql://owner@host/db", True),
        ("postgresql://owner:s3[cr3t@host/db", "postgresql://owner@host/db", False),
        ("postgresql://owner@host?Password=s3cr3t&a=b", "postgresql://owner@host?a=b", False),
        ("postgresql://owner@host?p%61ssword=s3cr3t", "postgresql://owner@host", False),
        ("postgresql://owner@host?oauth_client_secret=s3cr3t", "postgresql://owner@host", False),
        ("sftp://me:s3cr3t@host:22/x?a=b", "sftp://me@host:22/x?a=b", False),
    ],
)
def test_no_address_shows_its_password(url: str, shown: str, unclear: bool) -> None:
    assert without_password(url) == shown
    assert misread(url) is unclear
    assert "cr3t" not in scrubbed(f"no such host in {url}", url)
    if unclear:
        for place in (Address.of, Objects):
            with pytest.raises(StudyError, match="cannot be told from the rest") as caught:
                place(url)
            assert "cr3t" not in f"{caught.value!r} {caught.value} {vars(caught.value)}"
