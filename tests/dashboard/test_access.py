from __future__ import annotations

import pytest

from pipeline.dashboard import Access, is_loopback

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost", "LOCALHOST"])
def test_a_loopback_address_is_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "127.0.0.1.example.org", "", "127.1"])
def test_nothing_else_is(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("header", ["127.0.0.1:8020", "localhost:8020", "[::1]:8020", "localhost", "127.0.0.1"])
def test_a_loopback_server_is_known_by_loopback_names(header: str) -> None:
    assert Access("127.0.0.1").knows_host(header)


@pytest.mark.parametrize(
    "header",
    [
        "evil.example",
        "evil.example:8020",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.4:8020",
        "",
        None,
        "[::1",
        "a@127.0.0.1@evil.example",
        "127.0.0.1:x@evil.example",
    ],
)
def test_a_name_that_may_have_been_bound_anew_is_not_known(header: str | None) -> None:
    assert not Access("127.0.0.1").knows_host(header)


@pytest.mark.parametrize(
    ("header", "known"), [("10.0.0.7:8020", True), ("box.lan:8020", True), ("evil.example", False)]
)
def test_elsewhere_an_address_and_its_own_name_are_known(header: str, known: bool) -> None:
    assert Access("box.lan", TOKEN).knows_host(header) is known


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        ({}, False),
        ({"Authorization": f"Bearer {TOKEN}"}, True),
        ({"Authorization": f"bearer  {TOKEN} "}, True),
        ({"Authorization": f"Basic {TOKEN}"}, False),
        ({"Authorization": f"Bearer {TOKEN}x"}, False),
        ({"Authorization": "Bearer "}, False),
        ({"Authorization": "Bearer ünicode"}, False),
        ({"Cookie": f"pipeline-1={TOKEN}"}, True),
        ({"Cookie": f"a=b; pipeline-1={TOKEN}; c=d"}, True),
        ({"Cookie": f"pipeline-2={TOKEN}"}, False),
        ({"Cookie": "pipeline-1="}, False),
        ({"Cookie": "\x00;=;"}, False),
    ],
)
def test_a_token_is_shown_as_bearer_or_in_the_cookie(headers: dict[str, str], admitted: bool) -> None:
    assert Access("box.lan", TOKEN).admits(headers, "pipeline-1") is admitted


def test_without_a_token_everybody_on_the_machine_may_look() -> None:
    assert Access("127.0.0.1").admits({}, "pipeline-1")
    assert not Access("127.0.0.1").is_token("")
