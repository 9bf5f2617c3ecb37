"""Connections to one endpoint: opened through aiohttp, which knows names, TLS and proxies, and kept while they last."""

from __future__ import annotations

import asyncio
import socket
import ssl

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pipeline.backends.connection import Connection
from pipeline.backends.endpoint import Endpoint, forbidden_address
from pipeline.errors import NeedsPerson

_DNS_TTL = 300
_KEEP_ALIVE = 4.0
"""Seconds; common servers close a connection that was idle for five, and a request sent just then is lost."""
_SWEEP = 0.1
"""Seconds between two looks for requests whose time is up: a timer for each would cost more than parsing its answer."""
_LATE = 0.5
"""Seconds that a look must be late for the event loop to have stood still. That is not held against the servers: the
next look comes when what arrived meanwhile has been read."""


class ConnectionPool:
    """Hands out connections and ends what takes too long; what limits how many there are is above.

    Args:
        endpoint: Where they lead.
        connect: Seconds for name look-up, connection and TLS handshake together.
        max_body: The longest body to read, in bytes.

    Raises:
        aiohttp.ClientError: No connection can be opened.
        NeedsPerson: The name leads to an address that requests must never go to.
    """

    def __init__(self, endpoint: Endpoint, connect: float, max_body: int) -> None:
        url = URL(endpoint.base_url)
        secure = url.scheme == "https"
        proxy = _proxy(url) if endpoint.proxy_from_env else None
        self._max_body = max_body
        self._loop = asyncio.get_running_loop()
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect)
        self._connector = aiohttp.TCPConnector(
            limit=0,
            ttl_dns_cache=_DNS_TTL,
            ssl=_tls(endpoint.ca_file) if secure else False,
            resolver=_Resolver(),
        )
        self._target = aiohttp.ClientRequest("POST", url, loop=self._loop, proxy=URL(proxy) if proxy else None)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._sweep_at = self._loop.time() + _SWEEP
        self._sweeper = self._loop.call_at(self._sweep_at, self._sweep)
        self.through_proxy = proxy is not None and not secure
        """Whether requests go to a proxy in plain text: their request lines must name the whole URL."""

    @property
    def proxy_authorization(self) -> str | None:
        """What such a proxy wants to see, once the first connection is open."""
        return self._target.headers.get("Proxy-Authorization") if self.through_proxy else None

    def time(self) -> float:
        """The clock by which exchanges are due, in seconds."""
        return self._loop.time()

    def take(self) -> Connection | None:
        """Return a connection that is free, the one used last; None where there is none: then `connect`."""
        stale = self._loop.time() - _KEEP_ALIVE
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since > stale:
                return connection
            self._drop(connection)
        return None

    async def connect(self) -> Connection:
        """Return a new connection."""
        try:
            opened = await self._connector.connect(self._target, [], self._timeout)
        except TimeoutError:
            raise aiohttp.ConnectionTimeoutError from None
        connection = Connection(opened, self._max_body)
        self._open.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, or close it where it can carry none."""
        if connection.reusable:
            self._idle.append(connection)
        else:
            self._drop(connection)

    async def close(self) -> None:
        """Close all connections."""
        self._sweeper.cancel()
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._idle.clear()
        await self._connector.close()

    def _sweep(self) -> None:
        now = self._loop.time()
        if now < self._sweep_at + _LATE:
            for connection in list(self._open):
                connection.expire(now)
        self._sweep_at = now + _SWEEP
        self._sweeper = self._loop.call_at(self._sweep_at, self._sweep)

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._open.discard(connection)


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


def _proxy(url: URL) -> str | None:
    """Return the environment's proxy for `url`; aiohttp's own look-up would read ~/.netrc with it."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - brings e-mail, which only proxies are worth

    if url.host is None or proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme)
