"""A raw-socket server on loopback that stands before the judge, and spoils what no HTTP library would spoil.

Work and bill are the judge's: a request that a behaviour hands on is in the judge's record, one that it swallows is
not. What arrived here, whole or not, is in this server's own record.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from tests.judge import Judge

_PATIENCE = 10.0
"""Seconds that anything here waits at the most."""


class Seen(NamedTuple):
    """One request as it arrived."""

    at: float
    """Seconds on the monotonic clock."""
    connection: int
    """The number of its connection, from 1."""
    raw: bytes

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]


class Exchange(NamedTuple):
    """A request that waits for its answer."""

    socket: socket.socket
    seen: Seen
    upstream: str

    def forward(self) -> bytes:
        """Let the judge do the work, and return its response as it is to be sent."""
        parts = urlsplit(self.upstream)
        head, _, body = self.seen.raw.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_PATIENCE)
        with contextlib.closing(connection):
            connection.request("POST", line.split(" ")[1], body, headers)
            response = connection.getresponse()
            return answer(response.read(), status=f"{response.status} {response.reason}")

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)


Behaviour = Callable[[Exchange], bool]
"""Answers one request, or does not; returns whether the connection stays open."""


class RawServer:
    """A server that treats the first requests as its script says, and all others as `then` does.

    Args:
        judge: Where requests are handed on to.
        script: How the first requests are treated, in the order of their arrival.
        then: How all others are.
        tls: Speaks TLS.
        port: 0 takes a free one.
    """

    def __init__(
        self,
        judge: Judge | None = None,
        *script: Behaviour,
        then: Behaviour | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self._upstream = judge.url if judge else ""
        self._script = list(script)
        self._then = then or serve
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/v1"
        self.requests: list[Seen] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening and reset every connection."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(_PATIENCE)
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(_PATIENCE)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._converse, args=(connection, self.connections), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _converse(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(_PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), self._kept(connection) as channel:
            while (raw := _read_request(channel)) is not None:
                with self._lock:
                    seen = Seen(time.monotonic(), number, raw)
                    self.requests.append(seen)
                    behave = self._script.pop(0) if self._script else self._then
                if not behave(Exchange(channel, seen, self._upstream)):
                    return

    @contextlib.contextmanager
    def _kept(self, connection: socket.socket) -> Iterator[socket.socket]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            channel = connection
            if self._tls is not None:
                channel = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
            with self._lock:
                self._open.add(channel)
            try:
                yield channel
            finally:
                with self._lock:
                    self._open.discard(channel)


def _read_request(channel: socket.socket) -> bytes | None:
    """Return the next request; None where the client has closed the connection."""
    raw = b""
    while b"\r\n\r\n" not in raw or len(raw) < _length(raw):
        received = channel.recv(65_536)
        if not received:
            return None
        raw += received
    return raw


def _length(raw: bytes) -> int:
    head, _, _ = raw.partition(b"\r\n\r\n")
    fields = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    return len(head) + 4 + next((int(value) for name, _, value in fields if name == b"content-length"), 0)


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return a whole response."""
    kept = ("Content-Type: application/json", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join((f"HTTP/1.1 {status}", *kept, "", "")).encode() + body


def serve(exchange: Exchange) -> bool:
    """Hand the request on and send the judge's answer."""
    exchange.send(exchange.forward())
    return True


def says(content: bytes, *, stays: bool = True) -> Behaviour:
    """Send these bytes, whatever was asked; nobody works and nobody bills."""

    def behave(exchange: Exchange) -> bool:
        exchange.send(content)
        return stays

    return behave


def reset_connection(exchange: Exchange) -> bool:
    """Reset the connection on which the request came, as a server does that had closed it meanwhile."""
    # A linger time of 0 makes the kernel send RST in place of FIN.
    exchange.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def serve_and_close(exchange: Exchange) -> bool:
    """Answer well, and close the connection without having said so."""
    serve(exchange)
    return False


def answer_twice(exchange: Exchange) -> bool:
    """Answer, and once the client has taken that, send the same answer again: nobody asked for it."""
    content = exchange.forward()
    exchange.send(content)
    exchange.send(content)
    return True


def answer_too_late(exchange: Exchange) -> bool:
    """Wait until the client has given up, then answer."""
    content = exchange.forward()
    with contextlib.suppress(OSError):
        exchange.socket.recv(1)
    exchange.send(content)
    return True


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Reserve a port on which connections are refused."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Yield a port whose queue of connections is full: the kernel drops every further SYN."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield full.getsockname()[1]
