"""One HTTP exchange of which only the status counts: no redirects, no proxies, no cookies, and no body is read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import version
from urllib.parse import urlsplit

from pipeline.channels.base import Undelivered
from pipeline.channels.connect import connect, undelivered

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)\b")
_AGAIN = frozenset({408, 425, 429})


async def exchange(url: str, method: str, headers: Mapping[str, str], body: bytes = b"") -> None:
    """Send one request and wait for the status of its answer.

    Args:
        url: A checked one.
        method: GET or POST.
        headers: Beside those that every request has.
        body: Sent as it is.

    Raises:
        Undelivered: It got no answer of the 200s.
    """
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    reader, writer = await connect(parts.hostname or "", parts.port or (443 if tls else 80), tls=tls)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        own = {"Host": parts.netloc, "User-Agent": f"pipeline/{version('pipeline')}", "Content-Length": str(len(body))}
        lines = [f"{name}: {value}" for name, value in {**own, "Connection": "close", **headers}.items()]
        writer.write("\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("ascii") + body)
        await writer.drain()
        _check(await _status(reader))
    except OSError as error:
        raise undelivered(error) from None
    finally:
        writer.transport.abort()


async def _status(reader: asyncio.StreamReader) -> int:
    """The first status that is no interim one."""
    while True:
        line = await _line(reader)
        found = _STATUS.match(line)
        if found is None:
            reason = "its answer is not HTTP" if line else "it closed the connection without an answer"
            raise Undelivered(reason, again=True)
        status = int(found[1])
        if status >= 200:
            return status
        while (await _line(reader)).strip():
            """The headers of an interim answer."""


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # longer than the reader's limit
        raise Undelivered("its answer is not HTTP", again=False) from None


def _check(status: int) -> None:
    if 200 <= status < 300:
        return
    redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""
    raise Undelivered(f"it answered {_named(status)}{redirect}", again=status >= 500 or status in _AGAIN)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
