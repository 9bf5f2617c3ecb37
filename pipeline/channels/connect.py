"""Connections to whoever is told: names as the system looks them up, no address that nothing may be sent to, TLS."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from functools import cache, partial

from pipeline.backends.endpoint import forbidden_address
from pipeline.channels.base import Undelivered, in_daemon_thread

_MOST_BYTES = 8 * 1024
"""The longest line of an answer; nothing after it is read."""
_CONNECT = 5.0
"""Seconds for one of several addresses, its TLS handshake included."""


async def connect(host: str, port: int, *, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection.

    Raises:
        Undelivered: No address of the host takes one.
    """
    addresses = await in_daemon_thread(partial(resolve, host, port))
    context = await in_daemon_thread(tls_context) if tls else None
    problem: OSError = OSError()
    for address in addresses:
        try:
            async with asyncio.timeout(_CONNECT):
                return await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=host if tls else None, limit=_MOST_BYTES
                )
        except OSError as error:
            problem = error
    raise undelivered(problem)


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host. Blocks: call it in a thread.

    Raises:
        Undelivered: It has none, or one that nothing may be sent to.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Undelivered("its name cannot be looked up", again=True) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if any(forbidden_address(address) for address in addresses):
        raise Undelivered("its name leads to an address that nothing may be sent to", again=False)
    return addresses


@cache
def tls_context() -> ssl.SSLContext:
    """The system's authorities, TLS 1.2 or later. Reading them takes some 20 ms: call it in a thread."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def undelivered(error: OSError) -> Undelivered:
    """Return what a network error means, by its class and number: its text may quote an address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Undelivered("its TLS certificate cannot be verified", again=False)
    if isinstance(error, ssl.SSLError):
        return Undelivered("the TLS handshake failed", again=True)
    if isinstance(error, TimeoutError):
        return Undelivered("connecting took too long", again=True)
    reason = os.strerror(error.errno).lower() if error.errno else "connection lost"
    return Undelivered(f"cannot be reached ({reason})", again=True)
