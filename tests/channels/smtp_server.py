"""An SMTP server on loopback that keeps what it is given, and can be told to misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class Letter:
    """One message as it was handed in."""

    sender: str
    to: list[str]
    raw: bytes
    login: str | None
    secure: bool

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.default)


@dataclass
class MailServer:
    """Takes letters.

    Attributes:
        tls: Certificate for TLS from the start, or for STARTTLS.
        implicit: Speak TLS from the start.
        login: `user:password` that it asks for.
        answers: What it says to a verb in place of what it should; None never answers.
    """

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    login: str | None = None
    answers: Mapping[str, bytes | None] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[MailServer]:
        self._open: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls if self.implicit else None)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _Talk(self, reader, writer).run()
        finally:
            self._open.discard(task)
            writer.transport.abort()


class _Talk:
    """One conversation."""

    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._secure = server.implicit
        self._login: str | None = None
        self._sender = ""
        self._to: list[str] = []

    async def run(self) -> None:
        await self._say("connect", b"220 test\r\n")
        while line := await self._reader.readline():
            verb = line.split()[0].decode().upper()
            self._server.verbs.append(verb)
            if verb == "QUIT":
                return
            if verb in self._server.answers:
                await self._say(verb, b"")
            else:
                await getattr(self, f"_{verb.lower()}")(line.decode().strip())

    async def _say(self, verb: str, usual: bytes) -> None:
        said = self._server.answers.get(verb, usual)
        if said is None:
            await asyncio.Event().wait()
        else:
            self._writer.write(said)
            await self._writer.drain()

    async def _ehlo(self, _line: str) -> None:
        offers = [b"250-test"]
        if self._server.tls is not None and not self._secure:
            offers.append(b"250-STARTTLS")
        if self._server.login is not None:
            offers.append(b"250-AUTH PLAIN")
        await self._say("ehlo", b"\r\n".join([*offers, b"250 8BITMIME", b""]))

    async def _starttls(self, _line: str) -> None:
        assert self._server.tls is not None
        await self._say("starttls", b"220 go\r\n")
        await self._writer.start_tls(self._server.tls)
        self._secure = True

    async def _auth(self, line: str) -> None:
        _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
        right = f"{user}:{password}" == self._server.login
        self._login = user if right else None
        await self._say("auth", b"235 ok\r\n" if right else b"535 %b is wrong\r\n" % password.encode())

    async def _mail(self, line: str) -> None:
        self._sender = line.partition("<")[2].partition(">")[0]
        await self._say("mail", b"250 ok\r\n")

    async def _rcpt(self, line: str) -> None:
        self._to.append(line.partition("<")[2].partition(">")[0])
        await self._say("rcpt", b"250 ok\r\n")

    async def _rset(self, _line: str) -> None:
        await self._say("rset", b"250 ok\r\n")

    async def _data(self, _line: str) -> None:
        await self._say("data", b"354 go on\r\n")
        raw = await self._reader.readuntil(b"\r\n.\r\n")
        letter = raw[:-3].replace(b"\r\n..", b"\r\n.")
        self._server.letters.append(Letter(self._sender, self._to, letter, self._login, self._secure))
        await self._say("content", b"250 ok\r\n")
