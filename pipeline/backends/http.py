"""The HTTP backend: one POST over aiohttp. Everything foreign ends here, by class and code, in the error tree.

Nothing is decided in this module but how to talk: one session, no cookies, no redirects, no environment, bodies of at
most 64 MiB, and one deadline for the whole exchange.
"""

from __future__ import annotations

import socket
import ssl
from importlib.metadata import version
from io import BytesIO
from types import TracebackType
from typing import NamedTuple, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from multidict import istr
from yarl import URL

from pipeline.backends.deadline import Deadline
from pipeline.backends.endpoint import Endpoint, Timeouts, forbidden_address
from pipeline.backends.inflate import EncodingError, TooLargeError, inflate
from pipeline.clock import Clock, SystemClock
from pipeline.core.classify import classify
from pipeline.core.hints import rate_limits
from pipeline.errors import Ambiguous, NeedsPerson, PipelineError, Rejected, Unreachable
from pipeline.types import Request, Response

MAX_BODY = 64 << 20
"""The longest body that is read, in bytes, decompressed."""

_REQUEST_ID = istr("X-Client-Request-Id")
_CONTENT_ENCODING = istr("Content-Encoding")
_READ_BUFFER = 1 << 18
_LARGE = 1 << 20
"""A longer request body is written in pieces, between which the event loop goes on."""
_DNS_TTL = 300
_KEEP_ALIVE = 4.0
"""Seconds; common servers close a connection that was idle for five, and a request sent just then is lost."""


class HttpBackend:
    """Sends requests to one endpoint. Use it as an async context manager, or `open` and `close` it.

    Args:
        endpoint: Where to.
        timeouts: Limits of one attempt.
        concurrency: The most connections; 0 for no limit, where something above limits what is in flight.
        max_body: The longest body to read, in bytes, decompressed.
        clock: For a Retry-After that names a point in time.

    Raises:
        PipelineError: Of any class, see `classify` and the table of network errors below.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeouts: Timeouts | None = None,
        *,
        concurrency: int = 0,
        max_body: int = MAX_BODY,
        clock: Clock | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._timeouts = timeouts or Timeouts()
        self._concurrency = concurrency
        self._max_body = max_body
        self._clock = clock or SystemClock()
        self._base = endpoint.base_url.rstrip("/")
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None
        self._succeeded = False

    async def open(self) -> None:
        """Make the session; the first request connects."""
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            headers=self._headers(),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=self._timeouts.connect),
            read_bufsize=_READ_BUFFER,
            response_class=_FreshResponse,
            proxy=_proxy(self._base) if self._endpoint.proxy_from_env else None,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, request: Request) -> Response:
        try:
            async with Deadline(self._timeouts.total):
                raw, body = await self._exchange(request)
        except _FOREIGN as error:
            # Not chained: aiohttp's errors hold the request's headers, and with them the key.
            raise _translated(error) from None
        if 200 <= raw.status < 300:
            self._succeeded = True
            return Response(raw.status, raw.headers, body, rate_limits(raw.headers))
        raise classify(
            raw.status,
            raw.headers,
            body,
            now=self._clock.now(),
            tokens=request.tokens,
            succeeded=self._succeeded,
            redact=self._endpoint.redact,
        )

    async def _exchange(self, request: Request) -> tuple[aiohttp.ClientResponse, bytes]:
        if self._session is None:
            raise RuntimeError("the HTTP backend is not open")
        path = request.path
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._base + path)
        headers = {_REQUEST_ID: request.attempt} if request.attempt else None
        data = request.body if len(request.body) <= _LARGE else BytesIO(request.body)
        raw = await self._session.post(url, data=data, headers=headers, allow_redirects=False)
        if request.attempt and raw.headers.get(_REQUEST_ID, request.attempt) != request.attempt:
            raw.close()
            raise Ambiguous("the answer names another request than the one that was sent", code="wrong_request_id")
        try:
            body = await self._read(raw)
        except BaseException:
            raw.close()
            raise
        return raw, body

    async def _read(self, raw: aiohttp.ClientResponse) -> bytes:
        content = raw.content
        body = await content.readany()
        if not content.at_eof() or len(body) > self._max_body:
            body = await self._read_on(content, body)
        encoding = raw.headers.get(_CONTENT_ENCODING)
        return body if encoding is None else inflate(body, encoding, self._max_body)

    async def _read_on(self, content: aiohttp.StreamReader, first: bytes) -> bytes:
        chunks, size = [first], len(first)
        while size <= self._max_body:
            chunk = await content.readany()
            if not chunk and content.at_eof():
                return b"".join(chunks)
            size += len(chunk)
            chunks.append(chunk)
        raise TooLargeError("the body is too large")

    def _headers(self) -> dict[str, str]:
        endpoint = self._endpoint
        own = {
            "Authorization": f"Bearer {endpoint.api_key.reveal()}" if endpoint.api_key else None,
            "OpenAI-Organization": endpoint.organization,
            "OpenAI-Project": endpoint.project,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"pipeline/{version('pipeline')}",
        }
        return {**endpoint.headers, **{name: value for name, value in own.items() if value}}

    def _connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(
            limit=self._concurrency,
            ttl_dns_cache=_DNS_TTL,
            keepalive_timeout=_KEEP_ALIVE,
            ssl=_tls(self._endpoint.ca_file),
            resolver=_Resolver(),
        )


class _FreshResponse(aiohttp.ClientResponse):
    """Refuses a connection on which something arrived before the request went out.

    aiohttp would take a late or second response to the request before for the answer to this one, and with it another
    record's answer for this record's.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol: ResponseHandler | None = connection.protocol
        if protocol is None or protocol.should_close:
            raise aiohttp.ServerDisconnectedError("the server sent something that was not asked for")
        return await super().start(connection)


class _Resolver(AbstractResolver):
    """Looks names up as the system does, and refuses those that lead to metadata services and the like."""

    def __init__(self) -> None:
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)
        for result in found:
            if forbidden_address(result["host"]):
                raise NeedsPerson(
                    f"{host} leads to {result['host']}, an address that requests must never go to: check `base_url`",
                    code="forbidden_address",
                )
        return found

    async def close(self) -> None:
        await self._system.close()


def _tls(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _proxy(base_url: str) -> str | None:
    """Return the environment's proxy for `base_url`; aiohttp's own look-up would read ~/.netrc with it."""
    url = URL(base_url)
    if url.host is None or proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme)


class _Meaning(NamedTuple):
    seen: type[Exception]
    error: type[PipelineError]
    code: str
    what: str


_MEANINGS = (
    _Meaning(
        aiohttp.ClientConnectorCertificateError,
        NeedsPerson,
        "tls_verification",
        "the endpoint's TLS certificate cannot be verified: check `base_url`, the clock and `ca_file`",
    ),
    _Meaning(aiohttp.ClientConnectorSSLError, Unreachable, "tls_handshake", "the TLS handshake failed"),
    _Meaning(aiohttp.ClientConnectorDNSError, Unreachable, "dns", "the endpoint's name cannot be looked up"),
    _Meaning(aiohttp.ClientProxyConnectionError, Unreachable, "proxy_unreachable", "the proxy cannot be reached"),
    _Meaning(aiohttp.ClientConnectorError, Unreachable, "unreachable", "the endpoint cannot be reached"),
    _Meaning(aiohttp.ConnectionTimeoutError, Unreachable, "connect_timeout", "connecting took too long"),
    _Meaning(aiohttp.ClientHttpProxyError, Unreachable, "proxy_failed", "the proxy cannot connect to the endpoint"),
    _Meaning(TimeoutError, Ambiguous, "timeout", "no complete answer came before the deadline"),
    _Meaning(
        aiohttp.ServerDisconnectedError,
        Ambiguous,
        "connection_closed",
        "the connection was closed before the answer came",
    ),
    _Meaning(aiohttp.ClientPayloadError, Ambiguous, "answer_cut", "the answer was cut short"),
    _Meaning(EncodingError, Ambiguous, "bad_encoding", "the answer cannot be decompressed"),
    _Meaning(TooLargeError, Rejected, "answer_too_large", "the answer is too large: use smaller batches"),
    _Meaning(OSError, Ambiguous, "connection_reset", "the connection broke before the answer came"),
    _Meaning(aiohttp.ClientError, Ambiguous, "bad_http", "the answer is not HTTP"),
    _Meaning(HttpProcessingError, Ambiguous, "bad_http", "the answer is not HTTP"),
)
"""The first class that fits decides; the order puts subclasses first."""

_FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError, EncodingError, TooLargeError)


def _translated(error: Exception) -> PipelineError:
    """Return what a network error means for the request: not sent, perhaps billed, or for a person to mend."""
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
        return NeedsPerson("the proxy asks for a login: put it into the proxy's URL", code="proxy_login", status=407)
    meaning = next(meaning for meaning in _MEANINGS if isinstance(error, meaning.seen))
    translated = meaning.error(f"{meaning.what} ({_detail(error)})", code=meaning.code)
    translated.billed = translated.billed or meaning.error is Rejected
    return translated


def _detail(error: Exception) -> str:
    """Return a network error's class and the system's name for it; its text may quote what the server sent."""
    number = error.errno if isinstance(error, OSError) else None
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return type(cause).__name__ + (f", {number}" if number else "")
