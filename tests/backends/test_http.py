"""The HTTP backend against servers that break the rules, each break with its class of error."""

from __future__ import annotations

import asyncio
import errno
import gzip
import resource
import socket
import subprocess
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest

from pipeline.backends.endpoint import Endpoint, Timeouts
from pipeline.backends.http import HttpBackend
from pipeline.errors import Ambiguous, NeedsPerson, PipelineError, Rejected, Throttled, Unreachable
from pipeline.secret import Secret
from pipeline.types import Request, Response
from tests.backends.wire import Handler, WireServer, answer, reset

KEY = "canary-0123456789"
PATIENT = Timeouts(connect=5.0, total=5.0)
HASTY = Timeouts(connect=5.0, total=0.2)
LIMIT = 100_000


def endpoint(port: int, **named: object) -> Endpoint:
    return Endpoint(**({"name": "test", "base_url": f"http://127.0.0.1:{port}/v1", "api_key": Secret(KEY)} | named))  # type: ignore[arg-type]


def request(body: bytes = b'{"input":["a"]}', *, attempt: str = "") -> Request:
    return Request("/embeddings", body, (), "model", 1, len(body), 0, attempt=attempt)


async def sent(
    handler: Handler, *, timeouts: Timeouts = PATIENT, times: int = 1, server: WireServer | None = None
) -> Response:
    """Send `times` requests to a raw server and return the last response."""
    async with (
        (server or WireServer(handler)).running() as wire,
        HttpBackend(endpoint(wire.port), timeouts, max_body=LIMIT) as backend,
    ):
        for _ in range(times - 1):
            await backend.send(request())
        return await backend.send(request())


async def failure(handler: Handler, *, timeouts: Timeouts = PATIENT, times: int = 1) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        await sent(handler, timeouts=timeouts, times=times)
    return caught.value


def writes(*parts: bytes, close: bool = True) -> Handler:
    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return handler


def resets_after(*parts: bytes) -> Handler:
    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
        await writer.drain()
        reset(writer)

    return handler


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not reader.at_eof():
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
    writer.close()


async def never_ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not reader.at_eof():
        writer.write(b"x" * 65_536)
        await writer.drain()
    writer.close()


async def test_a_request_carries_the_key_the_account_and_its_identity() -> None:
    wire = WireServer(writes(answer(b"{}"), close=False))
    async with wire.running():
        where = endpoint(wire.port, organization="org-1", project="proj-1", headers={"X-Title": "t"})
        async with HttpBackend(where) as backend:
            await backend.send(request(b'{"input":["a"]}', attempt="run-7"))

    head, _, body = wire.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/embeddings HTTP/1.1"
    assert {
        f"Authorization: Bearer {KEY}",
        "OpenAI-Organization: org-1",
        "OpenAI-Project: proj-1",
        "X-Title: t",
        "X-Client-Request-Id: run-7",
        "Content-Type: application/json",
        "Accept-Encoding: identity",
        "Content-Length: 15",
    } <= set(lines)
    assert body == b'{"input":["a"]}'


async def test_one_connection_serves_many_requests() -> None:
    wire = WireServer(writes(answer(b"{}"), close=False))
    await sent(hangs, times=5, server=wire)

    assert wire.connections == 1
    assert len(wire.requests) == 5


async def test_cookies_are_not_kept() -> None:
    wire = WireServer(writes(answer(b"{}", "Set-Cookie: a=b"), close=False))
    async with wire.running():
        where = endpoint(1, base_url=f"http://localhost:{wire.port}/v1")
        async with HttpBackend(where, PATIENT) as backend:
            await backend.send(request())
            await backend.send(request())

    assert b"cookie" not in wire.requests[1].lower()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_redirect_is_not_followed_and_the_key_stays_here(status: str) -> None:
    async with WireServer(writes(answer(b"{}"))).running() as elsewhere:
        location = f"Location: http://127.0.0.1:{elsewhere.port}/v1/embeddings"
        error = await failure(writes(answer(b"", location, status=status)))

    assert isinstance(error, NeedsPerson)
    assert elsewhere.connections == 0


async def test_a_refusal_brings_its_hint_and_its_limits() -> None:
    headers = ("Retry-After: 2", "X-RateLimit-Limit-Requests: 60", "X-RateLimit-Remaining-Requests: 0")
    error = await failure(writes(answer(b"{}", *headers, status="429 Too Many Requests")))

    assert isinstance(error, Throttled)
    assert error.hint == 2.0
    assert error.limits is not None
    assert (error.limits.limit_requests, error.limits.remaining_requests) == (60, 0)


async def test_an_unknown_model_stops_the_job_only_before_the_first_answer() -> None:
    unknown = answer(b'{"error":{"code":"model_not_found"}}', status="404 Not Found")
    answers = iter([unknown, answer(b"{}"), unknown])

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))

    async with WireServer(handler).running() as wire, HttpBackend(endpoint(wire.port)) as backend:
        with pytest.raises(NeedsPerson):
            await backend.send(request())
        await backend.send(request())
        with pytest.raises(Rejected):
            await backend.send(request())


async def test_a_key_that_the_server_repeats_is_not_shown() -> None:
    error = await failure(writes(answer(b'{"error":{"message":"bad key %s"}}' % KEY.encode(), status="401 No")))

    assert "canary" not in error.message
    assert "***" in error.message


# What never left: not billed, and no attempt of the record.


async def test_a_refused_connection_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with HttpBackend(endpoint(closed.getsockname()[1])) as backend:
            with pytest.raises(Unreachable) as caught:
                await backend.send(request())

    assert caught.value.code == "unreachable"
    assert "ConnectionRefusedError" in caught.value.message


async def test_a_name_that_cannot_be_looked_up_is_unreachable() -> None:
    async with HttpBackend(endpoint(1, base_url="https://nowhere.invalid/v1"), PATIENT) as backend:
        with pytest.raises(Unreachable) as caught:
            await backend.send(request())

    assert caught.value.code in {"dns", "connect_timeout"}


async def test_a_server_that_does_not_take_connections_is_unreachable() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        async with HttpBackend(endpoint(full.getsockname()[1]), Timeouts(connect=0.2, total=5.0)) as backend:
            with pytest.raises(Unreachable) as caught:
                await backend.send(request())

    assert caught.value.code == "connect_timeout"


@pytest.fixture
def no_more_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_process_without_free_file_descriptors_has_sent_nothing(no_more_files: None) -> None:
    async with WireServer(hangs).running() as wire, HttpBackend(endpoint(wire.port)) as backend:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        with pytest.raises(Unreachable) as caught:
            await backend.send(request())

    assert str(errno.EMFILE) in caught.value.message


# What may have been billed: sent, and no usable answer.


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (resets_after(), "connection_reset"),
        (writes(), "connection_closed"),
        (resets_after(b"HTTP/1.1 200 OK\r\nContent-Le"), "connection_reset"),
        (resets_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "answer_cut"),
        (resets_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), "answer_cut"),
        (writes(answer(b"{}", length=9)), "answer_cut"),
        (writes(answer(b"{}more", length=2)), "bad_http"),
        (writes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"), "bad_http"),
        (writes(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}"), "bad_http"),
        (writes(b"HTTP/1.1 two hundred\r\n\r\n{}"), "bad_http"),
        (writes(b"{}\r\n\r\n"), "bad_http"),
        (writes(b"\x16\x03\x01\x00\x00\r\n\r\n"), "bad_http"),
        (writes(answer(b"{}", "X-Long: " + "x" * 200_000)), "bad_http"),
        (writes(answer(b"{}", *[f"X-{n}: x" for n in range(5_000)])), "bad_http"),
        (writes(answer(b"{}", "Content-Encoding: gzip")), "bad_encoding"),
        (writes(answer(gzip.compress(b"{}" * 99)[:-9], "Content-Encoding: gzip")), "bad_encoding"),
        (writes(answer(b"{}", "Content-Encoding: br")), "bad_encoding"),
    ],
)
async def test_a_broken_answer_is_ambiguous(handler: Handler, code: str) -> None:
    error = await failure(handler)

    assert type(error) is Ambiguous
    assert error.code == code
    assert error.billed


@pytest.mark.parametrize("handler", [hangs, drips])
async def test_the_deadline_covers_the_whole_exchange(handler: Handler) -> None:
    error = await failure(handler, timeouts=HASTY)

    assert type(error) is Ambiguous
    assert error.code == "timeout"


async def test_a_connection_that_the_server_closes_between_requests_makes_the_next_ambiguous_at_most() -> None:
    answers = iter([True, False])

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(answers):
            writer.write(answer(b"{}"))
        else:
            reset(writer)

    error = await failure(handler, times=2)

    assert type(error) is Ambiguous


async def test_an_answer_nobody_asked_for_is_not_taken_for_the_answer_to_the_next_request() -> None:
    answered, repeated = asyncio.Event(), asyncio.Event()

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b'{"to":"the first"}'))
        await answered.wait()
        writer.write(answer(b'{"to":"the first, again"}'))
        repeated.set()

    async with WireServer(handler).running() as wire, HttpBackend(endpoint(wire.port), PATIENT) as backend:
        await backend.send(request())
        answered.set()
        await repeated.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        response = await backend.send(request())

    assert response.body == b'{"to":"the first"}'
    assert wire.connections == 2
    assert wire.connections == 2


async def test_a_second_answer_right_after_the_first_ends_the_connection() -> None:
    wire = WireServer(writes(answer(b'{"to":"me"}') + answer(b'{"to":"nobody"}'), close=False))
    response = await sent(hangs, times=3, server=wire)

    assert response.body == b'{"to":"me"}'
    assert wire.connections == 3


async def test_an_error_answer_that_comes_before_the_body_was_sent_is_read() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"", status="413 Too Large"))
        await writer.drain()
        while await reader.read(65_536):
            pass

    async with (
        WireServer(handler, reads=False).running() as wire,
        HttpBackend(endpoint(wire.port), PATIENT) as backend,
    ):
        with pytest.raises(Rejected) as caught:
            await backend.send(request(b"x" * 20_000_000))

    assert caught.value.status == 413


# Bodies: bounded, and decompressed only where the server compressed without being asked.


@pytest.mark.parametrize(
    "handler",
    [
        never_ends,
        writes(answer(b"x" * (LIMIT + 1))),
        writes(answer(gzip.compress(b"x" * 50_000_000), "Content-Encoding: gzip")),
    ],
)
async def test_a_body_above_the_limit_rejects_the_request_and_is_billed(handler: Handler) -> None:
    error = await failure(handler)

    assert isinstance(error, Rejected)
    assert (error.code, error.billed, error.halve) == ("answer_too_large", True, True)


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert len((await sent(writes(answer(b"x" * LIMIT)))).body) == LIMIT


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b'{"a":1}'), "gzip"),
        (gzip.compress(b'{"a"') + gzip.compress(b":1}"), "GZIP"),
        (zlib.compress(b'{"a":1}'), "deflate"),
        (zlib.compress(b'{"a":1}', wbits=-15), "deflate"),
        (b'{"a":1}', "identity"),
    ],
)
async def test_a_compressed_body_is_read_all_the_same(body: bytes, encoding: str) -> None:
    assert (await sent(writes(answer(body, f"Content-Encoding: {encoding}")))).body == b'{"a":1}'


async def test_a_body_in_many_pieces_is_joined() -> None:
    pieces = [b"%x\r\n%s\r\n" % (len(text), text) for text in (b"{", b'"a"', b":", b"1", b"}")]
    response = await sent(writes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *pieces, b"0\r\n\r\n"))

    assert response.body == b'{"a":1}'


# TLS.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for `localhost` and its key, made by the openssl command."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = ["openssl", "req", "-x509", *curve, *files, "-days", "2", *subject]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("needs the openssl command")
    return folder


@pytest.fixture
async def secure(authority: Path) -> AsyncIterator[WireServer]:
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    async with WireServer(writes(answer(b"{}"))).running(context) as server:
        yield server


async def test_a_certificate_of_a_trusted_authority_is_accepted(secure: WireServer, authority: Path) -> None:
    where = endpoint(1, base_url=f"https://localhost:{secure.port}/v1", ca_file=str(authority / "cert.pem"))
    async with HttpBackend(where, PATIENT) as backend:
        assert (await backend.send(request())).body == b"{}"


async def test_an_unknown_authority_needs_a_person(secure: WireServer) -> None:
    async with HttpBackend(endpoint(1, base_url=f"https://localhost:{secure.port}/v1"), PATIENT) as backend:
        with pytest.raises(NeedsPerson) as caught:
            await backend.send(request())

    assert caught.value.code == "tls_verification"
    assert secure.requests == []


async def test_a_certificate_for_another_host_needs_a_person(secure: WireServer, authority: Path) -> None:
    where = endpoint(1, base_url=f"https://127.0.0.1:{secure.port}/v1", ca_file=str(authority / "cert.pem"))
    async with HttpBackend(where, PATIENT) as backend:
        with pytest.raises(NeedsPerson) as caught:
            await backend.send(request())

    assert caught.value.code == "tls_verification"
    assert secure.requests == []


async def test_a_connection_reset_during_the_handshake_is_unreachable() -> None:
    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    wire = WireServer(handler, reads=False)
    async with wire.running():
        where = endpoint(1, base_url=f"https://127.0.0.1:{wire.port}/v1")
        async with HttpBackend(where, PATIENT) as backend:
            with pytest.raises(Unreachable):
                await backend.send(request())

    assert wire.connections == 1


# Proxies and addresses.


async def test_the_environments_proxy_is_used_only_where_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WireServer(writes(answer(b'{"from":"proxy"}'), close=False)).running() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        async with WireServer(writes(answer(b'{"from":"server"}'), close=False)).running() as server:
            async with HttpBackend(endpoint(server.port)) as backend:
                direct = await backend.send(request())
            async with HttpBackend(endpoint(server.port, proxy_from_env=True)) as backend:
                proxied = await backend.send(request())

    assert direct.body == b'{"from":"server"}'
    assert proxied.body == b'{"from":"proxy"}'


@pytest.mark.parametrize(
    ("status", "error"), [("407 Proxy Authentication Required", NeedsPerson), ("502 Bad Gateway", Unreachable)]
)
async def test_a_proxy_that_refuses_the_tunnel(
    monkeypatch: pytest.MonkeyPatch, status: str, error: type[PipelineError]
) -> None:
    async with WireServer(writes(answer(b"", status=status))).running() as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:word@127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        where = endpoint(1, base_url="https://api.example.com/v1", proxy_from_env=True)
        async with HttpBackend(where, PATIENT) as backend:
            with pytest.raises(error) as caught:
                await backend.send(request())

    assert "word" not in caught.value.message
    assert KEY.encode() not in b"".join(proxy.requests)


async def test_a_name_that_leads_to_a_metadata_service_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()

    async def lookup(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 443))]

    monkeypatch.setattr(loop, "getaddrinfo", lookup)
    async with HttpBackend(endpoint(1, base_url="https://metadata.example.com/v1"), PATIENT) as backend:
        with pytest.raises(NeedsPerson) as caught:
            await backend.send(request())

    assert caught.value.code == "forbidden_address"


async def test_a_cancelled_request_leaves_the_backend_usable() -> None:
    first = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not first.is_set():
            first.set()
            await reader.read()
            writer.close()
        else:
            writer.write(answer(b"{}"))

    async with WireServer(handler).running() as wire, HttpBackend(endpoint(wire.port), PATIENT) as backend:
        hanging = asyncio.create_task(backend.send(request()))
        await first.wait()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging

        assert (await backend.send(request())).body == b"{}"
