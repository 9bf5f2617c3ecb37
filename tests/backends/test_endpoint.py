"""Which addresses and headers an endpoint may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backends.endpoint import Endpoint, forbidden_address
from pipeline.errors import UsageError
from pipeline.secret import Secret


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://api.openai.com:8443/v1/",
        "https://10.0.0.7/v1",
        "https://gpu_1.lan/v1",
        "http://127.0.0.1:8080/v1",
        "http://localhost:8080",
        "http://[::1]:8080/v1",
    ],
)
def test_these_urls_are_allowed(url: str) -> None:
    assert Endpoint("e", url).base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "http://10.0.0.7/v1",
        "http://localhost.evil.com/v1",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "api.openai.com/v1",
        "",
        "https://",
        "https://user:pass@api.openai.com/v1",
        "https://key@api.openai.com/v1",
        "https://api.openai.com/v1?key=1",
        "https://api.openai.com/v1#part",
        "https://api.openai.com./v1",
        "https://api.öpenai.com/v1",
        "https://api.openai.com:99999/v1",
        "https://[::1/v1",
        "https://2130706433/v1",
        "https://127.1/v1",
        "https://0x7f.0.0.0x1/v1",
        "https://0x7f000001/v1",
        "https://169.254.169.254/latest",
        "https://[fe80::1]/v1",
        "https://[::ffff:169.254.169.254]/v1",
        "http://0.0.0.0:8080/v1",
        "https://api openai.com/v1",
    ],
)
def test_these_urls_are_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint("e", url)

    assert caught.value.exit_code == 2
    assert "pass" not in caught.value.message.replace("password", "")


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
    ],
)
def test_requests_never_go_to_these_addresses(address: str) -> None:
    assert forbidden_address(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "104.18.6.192", "::1", "2606:4700::1"])
def test_requests_may_go_to_these_addresses(address: str) -> None:
    assert not forbidden_address(address)


@given(st.ip_addresses())
def test_every_address_is_judged(address: object) -> None:
    assert forbidden_address(str(address)) in {True, False}


@pytest.mark.parametrize("name", ["X-Title", "OpenAI-Beta", "HTTP-Referer"])
def test_these_headers_may_be_set(name: str) -> None:
    assert Endpoint("e", "https://a.example/v1", headers={name: "value"}).headers == {name: "value"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer x"),
        ("Host", "evil.example"),
        ("Content-Length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Cookie", "a=b"),
        ("X-Client-Request-Id", "1"),
        ("X-Bad Name", "1"),
        ("X-Title", "two\r\nlines"),
        ("X-Title", "ümlaut"),
    ],
)
def test_these_headers_are_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError):
        Endpoint("e", "https://a.example/v1", headers={name: value})


@pytest.mark.parametrize("named", [{"api_key": Secret("a\nb")}, {"organization": "a\r\nX: y"}, {"project": "pröject"}])
def test_credentials_that_would_break_the_header_are_refused_without_being_shown(named: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint("e", "https://a.example/v1", **named)  # type: ignore[arg-type]

    assert "a\nb" not in caught.value.message


@pytest.mark.parametrize("key", [None, Secret("canary-123")])
def test_an_endpoint_redacts_its_own_key_and_what_looks_like_one(key: Secret | None) -> None:
    where = Endpoint("e", "https://a.example/v1", key)

    assert where.redact("canary-123 sk-abcdefgh") == ("canary-123 ***" if key is None else "*** ***")


def test_an_endpoint_prints_without_its_key() -> None:
    assert "canary" not in repr(Endpoint("e", "https://a.example/v1", Secret("canary-123")))
