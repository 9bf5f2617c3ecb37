from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.base_url import check_base_url, host_of


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://eu.api.openai.com:8443/v1",
        "https://10.0.0.7/v1",
        "https://[2001:db8::1]/v1",
        "https://xn--bcher-kva.example/v1",
        "http://127.0.0.1:8010/v1",
        "http://127.8.9.10",
        "http://localhost:11434/v1",
        "http://LOCALHOST:11434/v1",
        "http://[::1]:8000/v1",
    ],
)
def test_https_is_for_all_hosts_and_http_for_this_machine(url: str) -> None:
    assert check_base_url(url) == url


def test_a_slash_at_the_end_is_dropped() -> None:
    assert check_base_url("https://api.openai.com/v1/") == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://api.openai.com/v1", "must begin with https://"),
        ("http://10.0.0.7:8000/v1", "must begin with https://"),
        ("http://localhost.example.com/v1", "must begin with https://"),
        ("http://127.0.0.1.nip.io/v1", "must begin with https://"),
        ("file:///etc/passwd", "must be a URL such as"),
        ("ftp://example.com", "must be a URL such as"),
        ("api.openai.com/v1", "must be a URL such as"),
        ("https://", "must be a URL such as"),
        ("https:///v1", "must be a URL such as"),
        ("https://h:0/v1", "must be a URL such as"),
        ("https://h:99999/v1", "must be a URL such as"),
        ("https://h:/v1", "must be a URL such as"),
        ("https://[::1/v1", "must be a URL such as"),
        ("https://user:pass@api.openai.com/v1", "must not hold a user or password"),
        ("https://api.openai.com@evil.example/v1", "must not hold a user or password"),
        ("https://@evil.example/v1", "must not hold a user or password"),
        ("https://h/v1?x=1", "must not have a query or fragment"),
        ("https://h/v1?", "must not have a query or fragment"),
        ("https://h/v1#x", "must not have a query or fragment"),
        ("https://h/v1/../admin", "must not have . or .."),
        ("https://h/v1/%2E%2e/admin", "must not have . or .."),
        ("https://169.254.169.254/latest", "must not be a link-local"),
        ("https://[fe80::1]/v1", "must not be a link-local"),
        ("https://[::ffff:169.254.169.254]/v1", "must not be a link-local"),
        ("https://[64:ff9b::a9fe:a9fe]/v1", "must not be a link-local"),
        ("https://[fd00:ec2::254]/v1", "must not be a link-local"),
        ("https://0.0.0.0/v1", "must not be a link-local"),
        ("https://[::]/v1", "must not be a link-local"),
        ("https://224.0.0.1/v1", "must not be a link-local"),
        ("https://2852039166/v1", "must write an IP address"),
        ("http://2130706433/v1", "must write an IP address"),
        ("http://0x7f000001/v1", "must write an IP address"),
        ("http://0177.0.0.1/v1", "must write an IP address"),
        ("http://127.1/v1", "must write an IP address"),
        ("http://0x7f.1/v1", "must write an IP address"),
        ("https://api.openai.com./v1", "must not have a dot at the end"),
        ("https://api..openai.com/v1", "must name its host"),
        ("https://-x.example/v1", "must name its host"),
        ("https://a%41.example/v1", "must name its host"),
        ("https://api.open\u0131.com/v1", "must be a URL in plain ASCII"),
        ("https://api.openai.com\u3002evil.example/v1", "must be a URL in plain ASCII"),
        ("https://api.openai.com\n.evil.example/v1", "must be a URL in plain ASCII"),
        ("https://api.openai.com\t/v1", "must be a URL in plain ASCII"),
        ("https://api.openai.com\\@evil.example/v1", "must be a URL in plain ASCII"),
        (" https://api.openai.com/v1", "must be a URL in plain ASCII"),
        ("", "must be a URL in plain ASCII"),
    ],
)
def test_a_url_that_could_send_a_key_astray_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        check_base_url(url)


@given(st.text(alphabet="htps:/.@[]?#%\\0123456789abx-", max_size=30).map("https://".__add__))
def test_what_is_taken_has_a_host_and_nothing_beside_it(url: str) -> None:
    with contextlib.suppress(ValueError):
        taken = check_base_url(url)
        assert host_of(taken)
        assert not set("?#\\") & set(taken)
        assert "@" not in taken.removeprefix("https://").partition("/")[0]
