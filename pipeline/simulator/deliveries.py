"""Faults in the way an answer travels. The work has been done: all are billed."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import cache, partial

from aiohttp import web

Delivery = Callable[[web.BaseRequest, bytes, float], Awaitable[web.StreamResponse]]
"""Sends a body, good or not, taking at most the given seconds."""

_GRACE = 0.01
"""Seconds for what was written to arrive before the connection is reset."""
_DRIP = 0.05
_MEBIBYTE = 1 << 20
_ENDLESS = 200
"""MiB after which an endless body ends."""


def _gone() -> web.StreamResponse:
    # The connection is closed or closing: aiohttp finds out when it sends this, and drops it.
    return web.Response()


def _head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", "x-simulator: 1", "Content-Type: application/json", *lines, "", "")).encode()


def _abort(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is None:
        return
    # A linger time of 0 makes the kernel send RST in place of FIN.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _write(request: web.BaseRequest, content: bytes) -> None:
    if request.transport is not None:
        request.transport.write(content)


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


async def _reset_before_response(request: web.BaseRequest, _body: bytes, _seconds: float) -> web.StreamResponse:
    _abort(request)
    return _gone()


async def _reset_mid_body(request: web.BaseRequest, body: bytes, _seconds: float) -> web.StreamResponse:
    _write(request, _head(f"Content-Length: {len(body)}") + body[: len(body) // 2])
    await asyncio.sleep(_GRACE)
    _abort(request)
    return _gone()


async def _raw(
    content: Callable[[bytes], bytes], request: web.BaseRequest, body: bytes, _seconds: float
) -> web.StreamResponse:
    _write(request, content(body))
    _close(request)
    return _gone()


async def _hang(request: web.BaseRequest, _body: bytes, seconds: float) -> web.StreamResponse:
    await asyncio.sleep(seconds)
    _abort(request)
    return _gone()


async def _drip(request: web.BaseRequest, body: bytes, seconds: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"x-simulator": "1", "Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(int(seconds / _DRIP)):
        await response.write(b" ")
        await asyncio.sleep(_DRIP)
    await response.write(body)
    return response


async def _endless_body(request: web.BaseRequest, body: bytes, _seconds: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"x-simulator": "1", "Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(_ENDLESS):
        await response.write(b" " * _MEBIBYTE)
    await response.write(body)
    return response


@cache
def _bomb() -> bytes:
    return gzip.compress(b" " * (100 * _MEBIBYTE), compresslevel=1)


def _gzip_bomb(_body: bytes) -> bytes:
    return _head("Content-Encoding: gzip", f"Content-Length: {len(_bomb())}") + _bomb()


DELIVERIES: dict[str, Delivery] = {
    "reset_before_response": _reset_before_response,
    "reset_mid_body": _reset_mid_body,
    "close_before_response": partial(_raw, lambda _: b""),
    "length_too_long": partial(_raw, lambda body: _head(f"Content-Length: {len(body) + 100}") + body),
    "length_too_short": partial(_raw, lambda body: _head(f"Content-Length: {len(body) // 2}") + body),
    "no_length": partial(_raw, lambda body: _head("Connection: close") + body[: len(body) // 2]),
    "close_after_response": partial(_raw, lambda body: _head(f"Content-Length: {len(body)}") + body),
    "bad_chunk": partial(_raw, lambda body: _head("Transfer-Encoding: chunked") + b"zz\r\n" + body),
    "cut_chunk": partial(_raw, lambda body: _head("Transfer-Encoding: chunked") + b"%x\r\n" % len(body) + body[:-1]),
    "bad_status_line": partial(_raw, lambda body: b"HTTP/1.1 what\r\n\r\n" + body),
    "no_status_line": partial(_raw, lambda body: body),
    "big_header": partial(_raw, lambda body: _head("x-big: " + "x" * 200_000, f"Content-Length: {len(body)}") + body),
    "gzip_bomb": partial(_raw, _gzip_bomb),
    "endless_body": _endless_body,
    "hang": _hang,
    "drip": _drip,
}
"""By name, how the connection is spoilt."""
