"""E-mail through an SMTP server. smtplib talks; this bounds how long, how much, and to whom."""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Literal

import orjson

from pipeline.channels.base import Undelivered, in_daemon_thread
from pipeline.channels.connect import resolve, tls_context, undelivered
from pipeline.core.notification import Notification
from pipeline.secret import Secret

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_MOST_BYTES = 64 * 1024
"""What a server may say in all."""
_NO_HOST = re.compile(r"[^A-Za-z0-9.-]")


@dataclass(frozen=True, slots=True)
class Account:
    """Where e-mail is handed in."""

    host: str
    port: int
    security: Literal["tls", "starttls", "none"]
    user: Secret | None = None
    password: Secret | None = None


class Mail:
    """Sends each event as one message.

    Args:
        place: What to call it.
        account: Where it is handed in.
        sender: An address.
        to: Addresses.
        timeout: Seconds for one message; a thread that nobody waits for any more ends by then.
    """

    def __init__(self, place: str, account: Account, sender: str, to: Sequence[str], timeout: float) -> None:
        self.place = place
        self._account = account
        self._sender = sender
        self._to = to
        self._timeout = timeout

    async def deliver(self, notification: Notification) -> None:
        await in_daemon_thread(partial(self._send, message(notification, self._sender, self._to)))

    def _send(self, letter: EmailMessage) -> None:
        try:
            with closing(_Session(self._account, time.monotonic() + self._timeout)) as session:
                session.hand_in(letter)
        except smtplib.SMTPException as error:
            raise _meaning(error) from None
        except OSError as error:
            raise undelivered(error) from None


def message(notification: Notification, sender: str, to: Sequence[str]) -> EmailMessage:
    """Return the message: a subject that can be filtered on, the sentence, and the event as JSON below it."""
    content = notification.content
    letter = EmailMessage()
    letter["Subject"] = _one_line(f"[pipeline] {content['name']}: {notification.event}")
    letter["From"] = sender
    letter["To"] = ", ".join(to)
    letter["Date"] = formatdate()
    letter["Message-ID"] = f"<{notification.id}@{_NO_HOST.sub('', sender.rpartition('@')[2])}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter["X-Pipeline-Event"] = notification.event
    facts = orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()
    letter.set_content(f"{notification.text}\n\n{facts}\n", cte="quoted-printable")
    return letter


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


class _Session(smtplib.SMTP):
    """A conversation that ends in time, and of which no more is kept than a server has to say."""

    def __init__(self, account: Account, until: float) -> None:
        self._account = account
        self._until = until
        name = _NO_HOST.sub("", socket.gethostname())
        super().__init__(account.host, account.port, local_hostname=name or "localhost", timeout=self.left())

    def hand_in(self, letter: EmailMessage) -> None:
        """Log in where that is wanted, and send the message."""
        account = self._account
        if account.security == "starttls":
            self.starttls(context=tls_context())
        if account.user is not None and account.password is not None:
            self.login(account.user.reveal(), account.password.reveal())
        if self.send_message(letter):
            raise Undelivered("the server refused some of the recipients", again=False)
        with contextlib.suppress(OSError):
            self.putcmd("quit")

    def left(self) -> float:
        """Seconds that are left. Raises TimeoutError where there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect to an address that may be sent to; the name is looked up once."""
        addresses = resolve(host, port)
        problem = OSError()
        for address in addresses:
            try:
                opened = socket.create_connection((address, port), timeout / len(addresses))
            except OSError as error:
                problem = error
            else:
                return self._secured(opened)
        raise problem

    def _secured(self, opened: socket.socket) -> socket.socket:
        if self._account.security != "tls":
            return opened
        return tls_context().wrap_socket(opened, server_hostname=self._account.host)

    def send(self, s: ReadableBuffer | str) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.left())
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Replies(self.sock, self.left)
        return super().getreply()


class _Replies:
    """The lines that a server says, as smtplib reads them from a file; it has closed the connection once it is late
    or says too much."""

    def __init__(self, channel: socket.socket, left: Callable[[], float]) -> None:
        self._channel = channel
        self._left = left
        self._held = b""
        self._heard = 0

    def readline(self, limit: int) -> bytes:
        while b"\n" not in self._held and len(self._held) < limit:
            self._channel.settimeout(self._left())
            received = self._channel.recv(4096)
            self._heard += len(received)
            if not received or self._heard > _MOST_BYTES:
                return b""
            self._held += received
        end = min(self._held.find(b"\n") + 1 or limit, limit)
        line, self._held = self._held[:end], self._held[end:]
        return line

    def close(self) -> None:
        """The connection is closed by who opened it."""


def _meaning(error: smtplib.SMTPException) -> Undelivered:
    """What a refusal means, by its class and code: its text may quote the message or the login."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            codes = [code for code, _ in error.recipients.values()]
            return Undelivered("the server refused the recipients", again=all(code < 500 for code in codes))
        case smtplib.SMTPAuthenticationError():
            return Undelivered(f"the server refused the login ({error.smtp_code})", again=error.smtp_code < 500)
        case smtplib.SMTPResponseException():
            return Undelivered(f"the server answered {error.smtp_code}", again=400 <= error.smtp_code < 500)
        case smtplib.SMTPNotSupportedError():
            return Undelivered("the server lacks STARTTLS or a login", again=False)
        case smtplib.SMTPServerDisconnected():
            return Undelivered("the server closed the connection", again=True)
    return Undelivered("the server does not speak SMTP as it should", again=False)
