"""Rows 43 to 46, 53, 56 and 57: the way to the server, as the real command finds it; the others are next door."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.backends.endpoint import Endpoint, Timeouts
from pipeline.backends.http import HttpBackend
from pipeline.errors import NeedsPerson, PipelineError, Unreachable
from pipeline.secret import Secret
from pipeline.types import Request
from tests.acceptance.command import Ended, write_endpoint
from tests.certificates import certificate
from tests.faults.case import Case, case
from tests.faults.here import finish_here
from tests.faults.injectors import skip_if
from tests.faults.oracle import CANARY
from tests.faults.raw_server import (
    Behaviour,
    RawServer,
    answer,
    black_hole,
    closed_port,
    reset_connection,
    says,
    serve,
    serve_and_close,
)
from tests.judge import Judge

Start = Callable[..., Judge]


def money(ended: Ended) -> tuple[int, int, int]:
    spent = ended.summary["money"]
    return spent["spent_nusd"], spent["unknown_nusd"], spent["reserved_nusd"]


def point_to(case: Case, url: str) -> None:
    write_endpoint(case.home, "own", url, api_key="env:CANARY_KEY", provider="simulator")


@pytest.mark.row(43)
def test_a_refused_connection_costs_nothing_and_ends_with_7_after_the_outage_allowed(
    judge: Start, tmp_path: Path
) -> None:
    struck = case(judge, tmp_path, retry={"max_outage": 1, "base": 0.05})
    with closed_port() as port:
        point_to(struck, f"http://127.0.0.1:{port}/v1")
        ended = struck.run(seconds=6)
    point_to(struck, struck.judge.url)

    assert ended.code == 7
    assert "run again" in ended.summary["message"]
    assert money(ended) == (0, 0, 0)
    assert ended.summary["records"]["failed"] == 0, "what never left is no attempt of a record"
    assert struck.sent == 0
    assert finish_here(struck).code == 0


@pytest.mark.row(44)
def test_a_server_that_takes_no_connection_is_given_up_on_after_ten_seconds(judge: Start, tmp_path: Path) -> None:
    struck = case(judge, tmp_path, retry={"max_outage": 0})
    with black_hole() as port:
        point_to(struck, f"http://127.0.0.1:{port}/v1")
        ended = struck.run(seconds=25)
    point_to(struck, struck.judge.url)

    assert ended.code == 7
    assert "connecting took too long" in ended.summary["message"]
    assert 9.5 < ended.summary["this_run"]["seconds"] < 15
    assert money(ended) == (0, 0, 0)
    assert finish_here(struck).code == 0


def no_namespaces() -> str | None:
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    tried = subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True)
    return None if tried.returncode == 0 else "this machine does not let us make a network namespace"


@pytest.mark.row(45)
def test_without_a_network_names_are_looked_up_in_vain_and_nothing_is_charged(judge: Start, tmp_path: Path) -> None:
    skip_if(no_namespaces())
    struck = case(judge, tmp_path, retry={"max_outage": 1, "base": 0.05})
    point_to(struck, "https://api.faults.test/v1")
    ended = struck.run(under=["unshare", "-n"], seconds=12)
    point_to(struck, struck.judge.url)

    assert ended.code == 7
    assert "cannot be looked up" in ended.summary["message"]
    assert money(ended) == (0, 0, 0)
    assert finish_here(struck).code == 0


@pytest.mark.row(45)
async def test_a_name_is_looked_up_once_and_again_where_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In process: only there can the resolver of the C library be made to fail for a while."""
    looked_up: list[str] = []
    system = socket.getaddrinfo

    def failing_at_first(host: str, *rest: object, **named: object) -> object:
        looked_up.append(host)
        if len(looked_up) <= 2:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return system(host, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", failing_at_first)
    with RawServer(then=says(answer(b"{}", "Connection: close"), stays=False)) as server:
        where = Endpoint("own", f"http://localhost:{server.port}/v1", Secret(CANARY))
        async with HttpBackend(where) as backend:
            for _ in range(2):
                with pytest.raises(Unreachable, match="looked up"):
                    await backend.send(embed())
            for _ in range(5):
                await backend.send(embed())

    assert len(server.requests) == server.connections == 5
    assert looked_up.count("localhost") == 3, "every connection after the first uses the address that was found"


def embed() -> Request:
    body = b'{"model":"simulator-hashing-256","input":["a"]}'
    return Request("/embeddings", body, (), "simulator-hashing-256", 1, len(body), 0)


@pytest.mark.row(46)
@pytest.mark.parametrize(
    ("address", "expired", "trusted", "code"),
    [
        ("127.0.0.1", False, True, 0),
        ("127.0.0.1", False, False, 6),
        ("127.0.0.2", False, True, 6),
        ("127.0.0.1", True, True, 6),
    ],
    ids=["right", "self-signed", "wrong-host", "expired"],
)
def test_a_certificate_that_cannot_be_verified_is_6_at_the_first_connection(
    judge: Start, tmp_path: Path, address: str, expired: bool, trusted: bool, code: int
) -> None:
    cert, key = certificate(tmp_path, address, expired=expired)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    struck = case(judge, tmp_path)
    with RawServer(struck.judge, tls=context) as server:
        point_to(struck, server.url)
        authorities = f"import os; os.environ['SSL_CERT_FILE'] = {str(cert)!r}" if trusted else None
        ended = struck.run(code=authorities)

    assert ended.code == code, ended.err
    assert server.connections == 1 or code == 0
    if code == 6:
        assert "certificate" in ended.summary["message"]
        assert server.requests == [], "nothing goes out before the server is known"
        assert money(ended) == (0, 0, 0)
        point_to(struck, struck.judge.url)
    assert finish_here(struck).code == 0


@pytest.mark.row(53)
@pytest.mark.parametrize("behaviour", [reset_connection, serve_and_close], ids=["as-it-is-sent", "before"])
def test_an_idle_connection_that_the_server_closes_costs_one_more_request_at_most(
    judge: Start, tmp_path: Path, behaviour: Behaviour
) -> None:
    """No byte of an answer came, yet all of the request had gone out: it is charged as unknown and sent once more."""
    struck = case(judge, tmp_path, limits={"concurrency": 1}, retry={"base": 0.01}, records=15)
    with RawServer(struck.judge, serve, behaviour) as server:
        point_to(struck, server.url)
        ended = struck.finish()

    resent = ended.summary["requests"]["retried"]
    assert resent <= 1, "a close that was seen in time costs nothing"
    assert resent == 1 or behaviour is serve_and_close
    assert (money(ended)[1] > 0) == bool(resent)
    assert struck.sent == 3


@pytest.mark.row(56)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_is_6_and_the_key_goes_nowhere_else(judge: Start, tmp_path: Path, status: str) -> None:
    struck = case(judge, tmp_path)
    with RawServer(struck.judge) as elsewhere:
        moved = answer(b"", f"Location: {elsewhere.url}/embeddings", status=status)
        with RawServer(struck.judge, then=says(moved)) as server:
            point_to(struck, server.url)
            ended = struck.run()

    assert (ended.code, len(server.requests), elsewhere.connections) == (6, 1, 0)
    assert "base_url" in ended.summary["message"]
    assert money(ended) == (0, 0, 0)
    point_to(struck, struck.judge.url)
    assert finish_here(struck).code == 0


@pytest.mark.row(57)
def test_a_proxy_of_the_environment_sees_nothing(judge: Start, tmp_path: Path) -> None:
    struck = case(judge, tmp_path)
    with RawServer(struck.judge) as proxy:
        where = f"http://user:{CANARY}-proxy@127.0.0.1:{proxy.port}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        ended = struck.run(code=f"import os; os.environ.update(dict.fromkeys({names!r}, {where!r}))")

    assert proxy.connections == 0
    assert ended.code == 0
    assert finish_here(struck).code == 0


@pytest.mark.row(57)
@pytest.mark.parametrize("proxy", ["serves", "asks-for-a-login", "refuses-connections"])
async def test_a_proxy_that_was_asked_for_is_used_and_its_failures_are_told_apart(
    judge: Start, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """In process: `proxy_from_env` is of the endpoint that the library takes; no config key sets it yet."""
    served = says(answer(b"{}"))
    login = says(answer(b"", status="407 Proxy Authentication Required"))
    with (
        closed_port() as dead,
        RawServer(judge("--engine", "hashing"), then=login if "asks" in proxy else served) as server,
    ):
        port = dead if "refuses" in proxy else server.port
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://user:proxy-password@127.0.0.1:{port}")
        error = await failure(Endpoint("own", "http://127.0.0.1:9/v1", Secret(CANARY), proxy_from_env=True))

    if proxy == "serves":
        assert error is None
        assert server.requests[0].raw.startswith(b"POST http://127.0.0.1:9/v1/embeddings ")
    elif proxy == "asks-for-a-login":
        assert isinstance(error, NeedsPerson)
        assert error.exit_code == 6
    else:
        assert isinstance(error, Unreachable)
        assert not error.billed
    assert error is None or "proxy-password" not in error.message + repr(error)


async def failure(endpoint: Endpoint) -> PipelineError | None:
    async with HttpBackend(endpoint, Timeouts(connect=2, total=2)) as backend:
        try:
            await backend.send(embed())
        except PipelineError as error:
            return error
    return None
