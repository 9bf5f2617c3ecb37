"""One HTTP exchange against servers that break the rules."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline.channels import connect
from pipeline.channels.base import Undelivered
from pipeline.channels.deliveries import deliver
from pipeline.channels.exchange import exchange
from tests.backends.wire import Handler, WireServer, answer, reset
from tests.certificates import certificate
from tests.channels.handlers import OK, writes
from tests.faults.raw_server import closed_port

ALMOST_NO_TIME = 0.2


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def failure(handler: Handler) -> Undelivered:
    async with WireServer(handler).running() as wire:
        with pytest.raises(Undelivered) as caught:
            await exchange(f"http://127.0.0.1:{wire.port}/hook", "POST", {}, b"{}")
    return caught.value


async def test_the_request_is_whole_and_what_it_should_be() -> None:
    async with WireServer(writes(OK)).running() as wire:
        await exchange(f"http://127.0.0.1:{wire.port}/a/b?c=d", "POST", {"X-Own": "1"}, b'{"e":1}')

    head, _, body = wire.requests[0].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert (line, body) == ("POST /a/b?c=d HTTP/1.1", b'{"e":1}')
    assert {f"Host: 127.0.0.1:{wire.port}", "Content-Length: 7", "Connection: close", "X-Own: 1"} <= set(headers)


@pytest.mark.parametrize(
    ("status", "again"),
    [
        ("500 Internal Server Error", True),
        ("503 Service Unavailable", True),
        ("429 Too Many Requests", True),
        ("408 Request Timeout", True),
        ("400 Bad Request", False),
        ("403 Forbidden", False),
        ("404 Not Found", False),
        ("410 Gone", False),
    ],
)
async def test_a_refusal_is_named_and_repeated_only_where_that_may_help(status: str, again: bool) -> None:
    found = await failure(writes(answer(b"private words", status=status)))

    assert (str(found), found.again) == (f"it answered {status}", again)


async def test_a_status_without_a_name_is_a_number() -> None:
    assert str(await failure(writes(answer(b"", status="599 Whatever")))) == "it answered 599"


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    async with WireServer(writes(OK)).running() as elsewhere:
        moved = answer(b"", f"Location: http://127.0.0.1:{elsewhere.port}/", status=status)
        found = await failure(writes(moved))

    assert str(found) == f"it answered {status}, a redirect, which is not followed"
    assert (found.again, elsewhere.connections) == (False, 0)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (writes(), "it closed the connection without an answer"),
        (writes(b"HTTP/1.1 20"), "its answer is not HTTP"),
        (writes(b"220 smtp.example.com\r\n"), "its answer is not HTTP"),
        (writes(b"HTTP/1.1 200" + b" " * 20_000), "its answer is not HTTP"),
        (writes(b"HTTP/1.1 100 Continue\r\n\r\n"), "it closed the connection without an answer"),
        (resets, "cannot be reached (connection reset by peer)"),
    ],
)
async def test_what_is_no_answer_is_told_apart(handler: Handler, reason: str) -> None:
    assert str(await failure(handler)) == reason


async def test_an_interim_answer_is_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with WireServer(writes(early + OK)).running() as wire:
        await exchange(f"http://127.0.0.1:{wire.port}/", "GET", {})

    assert len(wire.requests) == 1


async def test_of_an_endless_answer_only_the_beginning_is_taken() -> None:
    sent = 0

    async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(answer(b"", length=1 << 40))
        while not writer.is_closing():
            writer.write(b"x" * 65_536)
            sent += 65_536
            await writer.drain()

    async with WireServer(floods).running() as wire:
        await exchange(f"http://127.0.0.1:{wire.port}/", "POST", {}, b"{}")

    assert sent < 64 << 20, "what the kernel's buffers hold, and not more"


@pytest.mark.parametrize(
    "handler", [hangs, writes(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000)], ids=["silence", "interim answers for ever"]
)
async def test_whatever_a_server_does_the_time_is_kept(handler: Handler) -> None:
    async with WireServer(handler).running() as wire:
        failure = await deliver(lambda: exchange(f"http://127.0.0.1:{wire.port}/", "GET", {}), ALMOST_NO_TIME)

    assert failure is not None


async def test_nobody_listens() -> None:
    with closed_port() as port, pytest.raises(Undelivered) as caught:
        await exchange(f"http://127.0.0.1:{port}/", "GET", {})

    assert (str(caught.value), caught.value.again) == ("cannot be reached (connection refused)", True)


async def test_the_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WireServer(writes(OK)).running() as proxy, WireServer(writes(OK)).running() as wire:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await exchange(f"http://127.0.0.1:{wire.port}/", "GET", {})

    assert (wire.connections, proxy.connections) == (1, 0)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "0.0.0.0", "fd00:ec2::1"])
async def test_a_name_that_leads_to_a_metadata_service_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def lookup(*_: object, **__: object) -> list[tuple[object, ...]]:
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))
        return [good, (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(Undelivered) as caught:
        await exchange("https://hook.example.com/", "POST", {}, b"{}")

    assert str(caught.value) == "its name leads to an address that nothing may be sent to"
    assert not caught.value.again


async def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(Undelivered) as caught:
        await exchange("https://no-such-name.invalid/", "GET", {})

    assert str(caught.value) == "its name cannot be looked up"


async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WireServer(writes(OK)).running() as wire:
        monkeypatch.setattr(connect, "resolve", lambda *_: ["127.0.0.2", "127.0.0.1"])
        await exchange(f"http://localhost:{wire.port}/", "GET", {})

    assert wire.connections == 1


# TLS


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[WireServer]:
    cert, key = certificate(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with WireServer(writes(OK)).running(context) as server:
        yield server


@pytest.fixture
def trusting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the certificate of `secure`, as a user does who names it in SSL_CERT_FILE."""
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(tmp_path / "cert.pem"))
    monkeypatch.setattr(connect, "tls_context", connect.tls_context.__wrapped__)


async def test_a_certificate_of_a_trusted_authority_is_accepted(secure: WireServer, trusting: None) -> None:
    await exchange(f"https://127.0.0.1:{secure.port}/", "POST", {}, b"{}")

    assert len(secure.requests) == 1


async def test_a_certificate_of_an_unknown_authority_is_refused_and_nothing_is_sent(secure: WireServer) -> None:
    with pytest.raises(Undelivered) as caught:
        await exchange(f"https://127.0.0.1:{secure.port}/", "POST", {}, b"{}")

    assert (str(caught.value), caught.value.again) == ("its TLS certificate cannot be verified", False)
    assert secure.requests == []


async def test_a_certificate_for_another_host_is_refused(secure: WireServer, trusting: None) -> None:
    with pytest.raises(Undelivered) as caught:
        await exchange(f"https://localhost:{secure.port}/", "POST", {}, b"{}")

    assert str(caught.value) == "its TLS certificate cannot be verified"
    assert secure.requests == []
