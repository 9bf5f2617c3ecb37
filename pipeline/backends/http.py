"""The HTTP backend: one POST. Everything foreign ends here, by class and code, in the error tree.

Nothing is decided in this module but what is said: no cookies, no redirects, no environment, bodies of at most 64 MiB,
and one deadline for the whole exchange. aiohttp opens connections and parses answers; its own client, made for any
request, would cost more than all the rest of a request's way.
"""

from __future__ import annotations

from importlib.metadata import version
from types import TracebackType
from typing import Self

from multidict import istr
from yarl import URL

from pipeline.backends.connection import Answer
from pipeline.backends.endpoint import Endpoint, Timeouts
from pipeline.backends.inflate import inflate
from pipeline.backends.network_errors import FOREIGN, translated
from pipeline.backends.pool import ConnectionPool
from pipeline.clock import Clock, SystemClock
from pipeline.core.classify import classify
from pipeline.core.hints import rate_limits
from pipeline.errors import Ambiguous, PipelineError
from pipeline.types import Request, Response

MAX_BODY = 64 << 20
"""The longest body that is read, in bytes, decompressed."""

_REQUEST_ID = istr("X-Client-Request-Id")
_CONTENT_ENCODING = istr("Content-Encoding")
_ANOTHER_REQUEST = "the answer names another request than the one that was sent"


class HttpBackend:
    """Sends requests to one endpoint. Use it as an async context manager, or `open` and `close` it.

    It opens as many connections as there are requests at a time: what limits those is above.

    Args:
        endpoint: Where to.
        timeouts: Limits of one attempt.
        max_body: The longest body to read, in bytes, decompressed.
        clock: For a Retry-After that names a point in time.

    Raises:
        PipelineError: Of any class, see `classify` and `network_errors`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeouts: Timeouts | None = None,
        *,
        max_body: int = MAX_BODY,
        clock: Clock | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._timeouts = timeouts or Timeouts()
        self._max_body = max_body
        self._clock = clock or SystemClock()
        self._base = endpoint.base_url.rstrip("/")
        self._heads: dict[str, bytes] = {}
        self._pool: ConnectionPool | None = None
        self._succeeded = False

    async def open(self) -> None:
        """Get ready; the first request connects."""
        self._pool = ConnectionPool(self._endpoint, self._timeouts.connect, self._max_body)

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, request: Request) -> Response:
        pool = self._pool
        if pool is None:
            raise RuntimeError("the HTTP backend is not open")
        try:
            due = pool.time() + self._timeouts.total
            connection = pool.take() or await pool.connect()
            try:
                answer = await connection.exchange(self._head(request, pool), request.body, due)
                if answer.headers.get(_REQUEST_ID, request.attempt) != request.attempt and request.attempt:
                    connection.close()
                    raise Ambiguous(_ANOTHER_REQUEST, code="wrong_request_id")
            finally:
                pool.give_back(connection)
            encoding = answer.headers.get(_CONTENT_ENCODING)
            body = answer.body if encoding is None else inflate(answer.body, encoding, self._max_body)
        except FOREIGN as error:
            # Not chained: nothing foreign is shown, since it may quote the request or the answer.
            raise translated(error) from None
        if 200 <= answer.status < 300:
            self._succeeded = True
            return Response(answer.status, answer.headers, body, rate_limits(answer.headers))
        raise self._refusal(request, answer, body)

    def _refusal(self, request: Request, answer: Answer, body: bytes) -> PipelineError:
        return classify(
            answer.status,
            answer.headers,
            body,
            now=self._clock.now(),
            tokens=request.tokens,
            succeeded=self._succeeded,
            redact=self._endpoint.redact,
        )

    def _head(self, request: Request, pool: ConnectionPool) -> bytes:
        fixed = self._heads.get(request.path)
        if fixed is None:
            fixed = self._heads[request.path] = self._fixed_head(request.path, pool)
        if not request.attempt:
            return b"%bContent-Length: %d\r\n\r\n" % (fixed, len(request.body))
        attempt = request.attempt.encode()
        return b"%bX-Client-Request-Id: %b\r\nContent-Length: %d\r\n\r\n" % (fixed, attempt, len(request.body))

    def _fixed_head(self, path: str, pool: ConnectionPool) -> bytes:
        """The request line and the headers that every request to `path` has."""
        url = URL(self._base + path)
        target = str(url) if pool.through_proxy else url.raw_path_qs
        host = {"Host": url.host_port_subcomponent, "Proxy-Authorization": pool.proxy_authorization}
        lines = [f"{name}: {value}" for name, value in (host | self._headers()).items() if value]
        return "\r\n".join([f"POST {target} HTTP/1.1", *lines, ""]).encode("ascii")

    def _headers(self) -> dict[str, str | None]:
        endpoint = self._endpoint
        return {
            **endpoint.headers,
            "Authorization": f"Bearer {endpoint.api_key.reveal()}" if endpoint.api_key else None,
            "OpenAI-Organization": endpoint.organization,
            "OpenAI-Project": endpoint.project,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"pipeline/{version('pipeline')}",
        }
