"""One connection that carries one exchange at a time. aiohttp opened it and parses what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.connector import Connection as Opened
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from pipeline.backends.inflate import TooLargeError

_LARGE = 1 << 20
"""A longer request is written in pieces of so many bytes, between which the event loop goes on."""
_SWITCHING_PROTOCOLS = 101


class Answer(NamedTuple):
    """What came back, as it was received."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection(BaseProtocol):
    """Carries requests, and the answer to each.

    An answer belongs to the request that was written before it began: what arrives while nothing was asked for ends
    the connection, since the next request would take it for its own.

    Args:
        opened: By aiohttp's connector; its transport is taken over.
        max_body: The longest body to read, in bytes.
    """

    def __init__(self, opened: Opened, max_body: int) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        self._opened = opened
        self._handler = opened.protocol
        self._max_body = max_body
        self._answer: asyncio.Future[Answer] | None = None
        self._message: RawResponseMessage | None = None
        self._payload: StreamReader | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reusable = True
        self._due = 0.0
        self.idle_since = loop.time()
        transport = opened.transport
        if transport is None:
            raise aiohttp.ServerDisconnectedError
        transport.set_protocol(self)
        self.connection_made(transport)

    @property
    def reusable(self) -> bool:
        """Whether another request can be sent."""
        return self._reusable and self.transport is not None and not self.transport.is_closing()

    async def exchange(self, head: bytes, body: bytes, due: float) -> Answer:
        """Send a request and wait for the whole answer.

        Args:
            head: Request line and headers, with the empty line.
            body: Its body.
            due: When `expire` gives it up, in seconds of the event loop's clock.

        Raises:
            aiohttp.ClientError, HttpProcessingError, OSError, TooLargeError: There is no whole answer; the connection
                is closed.
        """
        loop = self._loop
        self._message = self._payload = None
        # A fresh one each time: the beginning of an answer nobody asked for must not become that of the next.
        self._answers = self._new_parser()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answer = answer
        self._due = due
        try:
            if len(body) <= _LARGE:
                self._write(head + body)
            else:
                await self._write_in_pieces(head, body, answer)
            return await answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None
            self.idle_since = loop.time()

    def expire(self, now: float) -> None:
        """Give up the request under way where it is due."""
        if self._answer is not None and now >= self._due:
            self._fail(TimeoutError())

    def close(self) -> None:
        """Close at once; a request under way is lost."""
        self._reusable = False
        transport = self.transport
        if transport is not None:
            transport.abort()
        self._opened.close()

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self.close()
            return
        try:
            messages, _, _ = self._answers.feed_data(data)
        except HttpProcessingError as error:
            self._fail(error)
            return
        for message, payload in messages:
            self._take(message, payload)
        if self._payload is not None:
            self._settle(self._payload)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._reusable = False
        answer = self._answer
        if answer is not None and not answer.done():
            self._end(exc)
        self.resume_writing()
        super().connection_lost(exc)
        if self._handler is not None:
            self._handler.connection_lost(exc)

    def pause_reading(self) -> None:
        """Bodies are bounded, so that reading never waits for whoever takes them."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """See `pause_reading`."""

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _new_parser(self) -> HttpResponseParser:
        return HttpResponseParser(
            self,
            self._loop,
            self._max_body,
            payload_exception=aiohttp.ClientPayloadError,
            read_until_eof=True,
            auto_decompress=False,
        )

    def _write(self, data: bytes | memoryview) -> None:
        if self.transport is None:
            raise aiohttp.ServerDisconnectedError
        self.transport.write(data)

    async def _write_in_pieces(self, head: bytes, body: bytes, answer: asyncio.Future[Answer]) -> None:
        self._write(head)
        view = memoryview(body)
        for start in range(0, len(body), _LARGE):
            if answer.done():
                self._reusable = False
                return
            self._write(view[start : start + _LARGE])
            if self._writable is not None:
                await self._writable

    def _take(self, message: RawResponseMessage, payload: StreamReader) -> None:
        if 100 <= message.code < 200 and message.code != _SWITCHING_PROTOCOLS:
            return
        if self._message is not None:
            self._reusable = False
            return
        self._message, self._payload = message, payload
        if message.should_close or message.upgrade:
            self._reusable = False

    def _settle(self, payload: StreamReader) -> None:
        """Hand the answer over if it is whole."""
        if payload.total_bytes > self._max_body:
            self._fail(TooLargeError("the body is too large"))
            return
        error = payload.exception()
        if error is not None:
            self._fail(error)
        elif payload.is_eof() and self._message is not None and self._answer is not None:
            self._answer.set_result(Answer(self._message.code, self._message.headers, payload.read_nowait()))
            self.resume_writing()

    def _end(self, lost: BaseException | None) -> None:
        """The connection is gone before the answer was whole, unless its end was the end of the body."""
        try:
            self._answers.feed_eof()
        except HttpProcessingError as error:
            self._fail(aiohttp.ClientPayloadError(type(error).__name__))
            return
        if self._payload is not None:
            self._settle(self._payload)
        if self._answer is not None and not self._answer.done():
            self._fail(lost if isinstance(lost, OSError) else aiohttp.ServerDisconnectedError())

    def _fail(self, error: BaseException) -> None:
        self._reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
            self.resume_writing()
