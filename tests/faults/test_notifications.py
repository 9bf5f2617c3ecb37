"""Whoever is told how a run goes can be slow, wrong or hostile: the run is the same, and ends in time.

All with the real command. The secrets of webhooks, mailboxes and heartbeats hold the canary, which is looked for in
everything that the tests leave.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from pipeline.types import Json
from tests.acceptance.command import Ended, read_lines, start
from tests.certificates import certificate
from tests.channels.lingering import COMMAND, has_ended
from tests.channels.smtp_server import MailServer
from tests.faults.case import Case, case, case_at, end, wait_until
from tests.faults.oracle import CANARY, check_canary
from tests.faults.raw_server import Exchange, RawServer, answer, closed_port, says
from tests.judge import Judge

Start = Callable[..., Judge]
TIMEOUT = 1.0
"""Seconds for a delivery."""
MARGIN = 4.0
"""Seconds for the process to end after that, on a machine that is busy."""
OK = says(answer(b"ok"), stays=False)


def silent(exchange: Exchange) -> bool:
    """Take the request and never answer."""
    exchange.socket.recv(1)
    return False


def close_early(_: Exchange) -> bool:
    return False


def flood(exchange: Exchange) -> bool:
    """Answer with 100 MB."""
    exchange.send(answer(b"", "Connection: close").replace(b"Length: 0", b"Length: 100000000"))
    for _ in range(100):
        exchange.send(b"x" * 1_000_000)
    return False


def tell(job: Case, hook: str, ping: str, **keys: Json) -> Case:
    """Let a job tell a webhook and a heartbeat; their URLs are secrets."""
    dotenv = job.home / ".env"
    dotenv.write_text(f"HOOK={hook}/{CANARY}-hook?sig=1\nPING={ping}/{CANARY}-ping\nHOOK_SECRET={CANARY}-sig\n")
    dotenv.chmod(0o600)
    config = orjson.loads(job.config.read_bytes())
    config["notify"] = {"webhook": {"url": "env:HOOK", "secret": "env:HOOK_SECRET"}, "timeout": TIMEOUT, **keys}
    config["heartbeat"] = {"url": "env:PING", "timeout": TIMEOUT}
    job.config.write_bytes(orjson.dumps(config))
    return job


class Timed(NamedTuple):
    """A run, and how long after its end its process was there."""

    ended: Ended
    delay: float


def timed(job: Case, *flags: str) -> Timed:
    ended = job.run(*flags)
    return Timed(ended, time.time() - datetime.fromisoformat(ended.summary["ended_at"]).timestamp())


def results(job: Case) -> list[Json]:
    """The output without the names of attempts, which no two ledgers share."""
    return [{key: value for key, value in line.items() if key != "attempt"} for line in read_lines(job.places.output)]


def private(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


class Receiver(NamedTuple):
    """Where notifications go wrong."""

    url: str
    reason: str
    canary: RawServer | None = None


@contextlib.contextmanager
def receiver(kind: str, folder: Path) -> Iterator[Receiver]:
    """Play a receiver of the kind that a test names."""
    with contextlib.ExitStack() as stack:
        if kind == "refuses connections":
            yield Receiver(f"http://127.0.0.1:{stack.enter_context(closed_port())}", "cannot be reached")
            return
        if kind == "redirects":
            elsewhere = stack.enter_context(RawServer(then=OK))
            moved = answer(b"", f"Location: {elsewhere.url}", status="301 Moved Permanently")
            server = stack.enter_context(RawServer(then=says(moved, stays=False)))
            yield Receiver(server.url, "a redirect, which is not followed", elsewhere)
            return
        if kind == "bad certificate":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate(folder, "127.0.0.1"))
            server = stack.enter_context(RawServer(then=OK, tls=context))
            yield Receiver(server.url, "its TLS certificate cannot be verified")
            return
        behaviour, reason = {
            "never answers": (silent, "not done within 1 s"),
            "answers 500": (says(answer(b"", status="500 Internal Server Error")), "it answered 500"),
            "answers 404": (says(answer(b"", status="404 Not Found")), "it answered 404 Not Found"),
            "closes early": (close_early, "it closed the connection without an answer"),
            "answers 100 MB": (flood, ""),
        }[kind]
        yield Receiver(stack.enter_context(RawServer(then=behaviour)).url, reason)


KINDS = (
    "never answers", "answers 500", "answers 404", "refuses connections", "redirects", "answers 100 MB", "closes early",
    "bad certificate",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_receiver_does_the_run_is_the_same_and_ends_in_time(judge: Start, tmp_path: Path, kind: str) -> None:
    server = judge("--engine", "hashing")
    alone, job = (case_at(private(tmp_path / name), server, 60) for name in ("alone", "home"))
    assert alone.run().code == 0
    with receiver(kind, tmp_path) as where:
        ended, delay = timed(tell(job, where.url, where.url))
        notices = ended.summary["notices"]
        print(f"\n{kind}: exit {ended.code}, {delay:.2f} s after the run's end; {notices}")

        assert ended.code == 0
        assert results(job) == results(alone)
        assert delay < TIMEOUT + MARGIN
        assert [text for text in notices if where.reason not in text] == []
        assert len(notices) == len(set(notices)) == (2 if where.reason else 0), "one each for webhook and heartbeat"
        assert where.canary is None or where.canary.connections == 0
    kept = orjson.loads((job.places.state / "run.json").read_bytes())
    assert kept["notices"] == notices
    check_canary(job.home, ended.out, ended.err)


def test_a_receiver_that_is_silent_under_way_does_not_slow_the_run(judge: Start, tmp_path: Path) -> None:
    """Twelve requests of a quarter of a second, one after the other; the soft budget is reached after the first."""

    def silent_under_way(exchange: Exchange) -> bool:
        under_way = b"/start" in exchange.seen.raw.split(b"\r\n")[0] or b'"soft_budget"' in exchange.seen.raw
        return silent(exchange) if under_way else OK(exchange)

    budget = {"hard_usd": 1, "soft_usd": 0.000001}
    job = case(judge, tmp_path, "--latency", "0.25", limits={"concurrency": 1}, budget=budget)
    with RawServer(then=silent_under_way) as server:
        ended, delay = timed(tell(job, server.url, server.url))
        events = [orjson.loads(request.body)["event"] for request in server.requests if request.body]
    taken = ended.summary["this_run"]["seconds"]
    print(f"\nthe run took {taken:.2f} s, its process {delay:.2f} s more; told: {events}")

    assert (ended.code, events) == (0, ["soft_budget", "complete"])
    assert taken < 12 * 0.25 + 2
    assert delay < TIMEOUT + MARGIN
    assert sum("not done within 1 s" in text for text in ended.summary["notices"]) == 2


# What is told, and to whom


def paths(server: RawServer) -> list[str]:
    """What was asked for, without the secret of its URL."""
    targets = [request.raw.split(b" ")[1].decode() for request in server.requests]
    return sorted(target.removeprefix("/v1/").replace(f"{CANARY}-", "") for target in targets)


def events(server: RawServer) -> list[str]:
    """The events of all deliveries, each with a signature that the documented recipe finds right."""
    return [verified(request.raw)["event"] for request in server.requests if request.body]


def verified(raw: bytes) -> Json:
    head, _, body = raw.partition(b"\r\n\r\n")
    fields = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
    headers = {name.lower(): value for name, value in fields}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(f"{CANARY}-sig".encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 300
    event = orjson.loads(body)
    assert event["id"] == headers["webhook-id"]
    return event


BUG = "import pipeline.runner as r\nasync def broken(*_): raise ValueError('private')\nr.Engine.run = broken"


@pytest.mark.parametrize(
    ("flags", "code", "exit_code", "told", "pinged"),
    [
        ([], None, 0, ["complete"], ["ping", "ping/start"]),
        (["--budget", "0.000001"], None, 4, ["hard_budget"], ["ping/4", "ping/start"]),
        (["--deadline", "0"], None, 4, ["deadline"], ["ping/4", "ping/start"]),
        (["--input", "absent.jsonl"], None, 2, ["failed"], ["ping/2"]),
        ([], BUG, 1, ["failed"], ["ping/1", "ping/start"]),
    ],
    ids=["complete", "hard_budget", "deadline", "refused", "bug"],
)
def test_how_a_run_ended_is_told_and_pinged(
    judge: Start, tmp_path: Path, flags: list[str], code: str | None, exit_code: int, told: list[str], pinged: list[str]
) -> None:
    job = case(judge, tmp_path)
    with RawServer(then=OK) as server:
        ended = tell(job, server.url, server.url).run(*flags, code=code)
        found = events(server), [path for path in paths(server) if path.startswith("ping")]
    (body,) = [orjson.loads(request.body) for request in server.requests if request.body]

    assert (ended.code, *found) == (exit_code, told, pinged)
    assert (body["exit_code"], body["name"], body["output"]) == (exit_code, "job", str(job.places.output))
    assert "private" not in str(body)
    check_canary(job.home, ended.out, ended.err)


def test_nothing_to_do_tells_nobody_and_is_a_sign_of_life(judge: Start, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    job.run()
    with RawServer(then=OK) as server:
        ended = tell(job, server.url, server.url).run()

    assert (ended.code, paths(server)) == (0, ["ping", "ping/start"])


def test_a_run_that_finds_another_at_work_pings_nothing(judge: Start, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "2", limits={"concurrency": 1})
    first = job.start()
    job.strike_after(1, first)
    with RawServer(then=OK) as server:
        second = tell(job, server.url, server.url).run()
    end_of_first = end_now(first)

    assert (second.code, server.connections) == (75, 0), end_of_first.err


def end_now(process: subprocess.Popen[bytes]) -> Ended:
    process.kill()
    return end(process)


async def test_everybody_is_told_and_no_secret_is_anywhere(judge: Start, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    async with MailServer(login=f"me@example.com:{CANARY}-word").running() as mailbox:
        email = {
            "to": ["ops@example.com"],
            "sender": "pipeline@example.com",
            "server": f"smtp://127.0.0.1:{mailbox.port}",
            "user": "me@example.com",
            "password": "env:MAIL_WORD",
        }
        command = [sys.executable, "-c", "import sys; open('event.json', 'w').write(sys.stdin.read())"]
        with RawServer(then=OK) as server:
            tell(job, server.url, server.url, email=email, command=command)
            with (job.home / ".env").open("a") as dotenv:
                dotenv.write(f"MAIL_WORD={CANARY}-word\n")
            ended = await asyncio.to_thread(job.run, "-vv")
            shown = await asyncio.to_thread(job.run, "-n")
            posted = [verified(request.raw) for request in server.requests if request.body]
    (letter,) = mailbox.letters
    event = orjson.loads((job.home / "event.json").read_bytes())

    assert (ended.code, ended.summary["notices"]) == (0, [])
    assert posted == [event]
    assert letter.login == "me@example.com"
    assert letter.message["Subject"] == "[pipeline] job: complete"
    assert event["text"] in letter.message.get_content()
    assert CANARY not in letter.raw.decode() + str(event)
    check_canary(job.home, ended.out, ended.err, shown.out, shown.err)


# The end of the process


def test_a_command_that_hangs_is_ended_with_all_that_it_started(judge: Start, tmp_path: Path) -> None:
    job = case(judge, tmp_path, notify={"command": COMMAND, "timeout": TIMEOUT})
    ended, delay = timed(job)
    pids = (job.home / "pids").read_text().split()

    assert (ended.code, ended.summary["notices"]) == (0, ["command: not delivered: not done within 1 s"])
    assert delay < TIMEOUT + MARGIN
    wait_until(lambda: all(map(has_ended, pids)))


def test_a_command_that_fails_is_a_notice(judge: Start, tmp_path: Path) -> None:
    job = case(judge, tmp_path, notify={"command": ["sh", "-c", "echo spoils the data; exit 9"]})
    ended = job.run()

    assert (ended.code, ended.summary["notices"]) == (0, ["command: not delivered: it ended with 9"])


def test_a_second_interrupt_ends_the_run_at_once_and_its_command_with_it(judge: Start, tmp_path: Path) -> None:
    told = {"on": ["interrupted"], "command": COMMAND, "timeout": 60}
    job = case(judge, tmp_path, "--latency", "0.3", limits={"concurrency": 1})
    with RawServer(then=silent) as server:
        process = tell(job, server.url, server.url, **told).start("--set", "heartbeat.timeout=60")
        job.strike_after(2, process)
        process.send_signal(signal.SIGINT)
        wait_until((job.home / "pids").exists)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        ended = end(process)
    taken = time.monotonic() - began
    print(f"\nended {taken:.2f} s after the second SIGINT")

    assert (ended.code, ended.summary["state"]) == (130, "interrupted")
    assert taken < MARGIN
    wait_until(lambda: all(map(has_ended, (job.home / "pids").read_text().split())))


def test_while_the_end_waits_for_a_delivery_another_run_may_begin(judge: Start, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    with RawServer(then=silent) as server:
        waiting = tell(job, server.url, server.url, timeout=60, on=["complete"]).start()
        wait_until(lambda: "hook?sig=1" in paths(server))
        follower = job.run()
        still_there = waiting.poll() is None
        end_now(waiting)

    assert (follower.code, still_there) == (0, True), follower.err


def test_the_secrets_of_the_environment_are_in_no_process_list(judge: Start, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    with RawServer(then=silent) as server:
        tell(job, server.url, server.url, command=COMMAND, timeout=60)
        secrets = dict(line.split("=", 1) for line in (job.home / ".env").read_text().splitlines())
        (job.home / ".env").unlink()
        process = start(["run", str(job.config)], job.home, {"CANARY_KEY": CANARY, **secrets})
        wait_until((job.home / "pids").exists)
        command, grandchild = (job.home / "pids").read_text().split()
        listed = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (str(process.pid), command, grandchild)]
        inherited = [Path(f"/proc/{pid}/environ").read_bytes() for pid in (command, grandchild)]
        ended = interrupted_twice(process)

    assert CANARY.encode() not in b"".join(listed + inherited)
    assert b"PIPELINE_EVENT=complete" in inherited[0]
    check_canary(job.home, ended.out, ended.err)


def interrupted_twice(process: subprocess.Popen[bytes]) -> Ended:
    """End a process by two signals; the second is sent once the first was heard."""
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    while b"pipeline: stopping" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    return end(process)
