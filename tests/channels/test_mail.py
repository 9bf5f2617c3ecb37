from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
from email import message_from_bytes, policy
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.channels import mail
from pipeline.channels.base import Undelivered
from pipeline.channels.connect import tls_context
from pipeline.channels.deliveries import deliver
from pipeline.channels.mail import Account, Mail, message
from pipeline.secret import Secret
from tests.certificates import certificate
from tests.channels.events import told
from tests.channels.smtp_server import MailServer
from tests.faults.case import wait_until
from tests.faults.raw_server import closed_port

SENDER = "pipeline@example.com"
TO = ("ops@example.com", "more@example.org")
PASSWORD = "canary of a mailbox"
Security = Literal["tls", "starttls", "none"]


def channel(port: int, security: Security = "none", password: str | None = None, seconds: float = 10) -> Mail:
    login = (None, None) if password is None else (Secret("me@example.com"), Secret(password))
    return Mail("e-mail", Account("127.0.0.1", port, security, *login), SENDER, TO, seconds)


async def failure(server: MailServer, security: Security = "none", password: str | None = None) -> Undelivered:
    async with server.running():
        with pytest.raises(Undelivered) as caught:
            await channel(server.port, security, password).deliver(told())
    return caught.value


async def test_a_message_arrives_with_a_subject_to_filter_on() -> None:
    async with MailServer().running() as server:
        await channel(server.port).deliver(told(name="schöne-grüße", message="naïve 日本 🎉", state="stopped"))
    (letter,) = server.letters
    found = letter.message

    assert (letter.sender, letter.to) == (SENDER, list(TO))
    assert found["Subject"] == "[pipeline] schöne-grüße: complete"
    assert (found["From"], found["To"]) == (SENDER, ", ".join(TO))
    assert (found["Auto-Submitted"], found["X-Pipeline-Event"]) == ("auto-generated", "complete")
    assert found["Date"]
    assert found["Message-ID"].endswith("@example.com>")
    text = found.get_content()
    assert text.startswith("schöne-grüße: stopped: naïve 日本 🎉; cost: $0.0012\r\n\r\n{")
    assert '"exit_code": 0' in text
    assert letter.raw.isascii(), "it goes through servers that know nothing but ASCII"


@given(st.text(max_size=80), st.text(max_size=200), st.text(max_size=80))
def test_no_name_and_no_message_adds_a_header(name: str, why: str, output: str) -> None:
    letter = message(told(name=name, message=why, state="stopped", output=output), SENDER, TO)
    parsed = message_from_bytes(letter.as_bytes(), policy=policy.default)

    assert sorted(parsed.keys()) == [
        "Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "MIME-Version", "Message-ID",
        "Subject", "To", "X-Pipeline-Event",
    ]  # fmt: skip
    assert parsed["To"] == ", ".join(TO)
    assert parsed.get_content().rstrip().endswith("}")


# TLS and logins


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path, "127.0.0.1"))
    return context


@pytest.fixture
def trusting(tmp_path: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust that server, as a user does who names its certificate in SSL_CERT_FILE."""
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(tmp_path / "cert.pem"))
    monkeypatch.setattr(mail, "tls_context", tls_context.__wrapped__)


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_a_login_goes_through_tls(tls: ssl.SSLContext, trusting: None, security: Security) -> None:
    login = f"me@example.com:{PASSWORD}"
    async with MailServer(tls, implicit=security == "tls", login=login).running() as server:
        await channel(server.port, security, PASSWORD).deliver(told())

    assert [(letter.login, letter.secure) for letter in server.letters] == [("me@example.com", True)]


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_no_login_and_no_message_goes_to_a_server_that_nobody_vouches_for(
    tls: ssl.SSLContext, security: Security
) -> None:
    server = MailServer(tls, implicit=security == "tls", login=f"me@example.com:{PASSWORD}")
    found = await failure(server, security, PASSWORD)

    assert (str(found), found.again) == ("its TLS certificate cannot be verified", False)
    assert (server.letters, "AUTH" in server.verbs) == ([], False)


async def test_a_server_without_starttls_gets_no_login() -> None:
    server = MailServer(login=f"me@example.com:{PASSWORD}")
    found = await failure(server, "starttls", PASSWORD)

    assert str(found) == "the server lacks STARTTLS or a login"
    assert "AUTH" not in server.verbs


async def test_a_refused_login_does_not_show_the_password() -> None:
    found = await failure(MailServer(login="me@example.com:other"), "none", PASSWORD)

    assert (str(found), found.again) == ("the server refused the login (535)", False)


# Servers that refuse, are silent, or never stop


@pytest.mark.parametrize(
    ("verb", "said", "reason", "again"),
    [
        ("connect", b"554 go away\r\n", "the server answered 554", False),
        ("connect", b"421 busy\r\n", "the server answered 421", True),
        ("connect", b"HTTP/1.1 400 Bad Request\r\n", "the server answered -1", False),
        ("MAIL", b"550 no\r\n", "the server answered 550", False),
        ("RCPT", b"550 who?\r\n", "the server refused the recipients", False),
        ("RCPT", b"450 later\r\n", "the server refused the recipients", True),
        ("DATA", b"451 later\r\n", "the server answered 451", True),
        ("content", b"552 too large\r\n", "the server answered 552", False),
    ],
)
async def test_a_refusal_is_told_by_its_code(verb: str, said: bytes, reason: str, again: bool) -> None:
    found = await failure(MailServer(answers={verb: said}))

    assert (str(found), found.again) == (reason, again)


async def test_a_server_that_never_stops_talking_is_cut_off_long_before_the_time_is_over() -> None:
    began = time.monotonic()
    found = await failure(MailServer(answers={"EHLO": b"250-more\r\n" * 1_000_000}))

    assert str(found) == "the server closed the connection"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("verb", ["connect", "EHLO", "DATA", "content"])
async def test_a_silent_server_takes_no_more_than_the_time_and_leaves_no_thread(verb: str) -> None:
    began = time.monotonic()
    async with MailServer(answers={verb: None}).running() as server:
        found = await deliver(lambda: channel(server.port, seconds=0.3).deliver(told()), 0.3)
        await asyncio.to_thread(wait_until, lambda: "notify" not in {thread.name for thread in threading.enumerate()})

    assert found is not None
    assert time.monotonic() - began < 5
    assert server.letters == [] or verb == "content"


async def test_a_farewell_that_never_comes_is_not_waited_for() -> None:
    async with MailServer(answers={"QUIT": None}).running() as server:
        assert await deliver(lambda: channel(server.port).deliver(told()), 5) is None


async def test_nobody_listens() -> None:
    with closed_port() as port, pytest.raises(Undelivered) as caught:
        await channel(port).deliver(told())

    assert (str(caught.value), caught.value.again) == ("cannot be reached (connection refused)", True)
