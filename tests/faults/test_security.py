"""Rows 94-104: a key, a prompt or an end user's name is nowhere but where it must be, and goes nowhere else."""

from __future__ import annotations

import ast
import base64
import contextlib
import hashlib
import hmac
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest

import pipeline
from pipeline.cli.app import pipeline as commands
from pipeline.cli.failure import exit_code_of
from pipeline.config.base_url import check_base_url
from pipeline.errors import UsageError
from pipeline.storage.local_secret import read_local_secret
from pipeline.types import Json
from tests.acceptance.command import Ended, environment, read_lines, write_endpoint, write_records
from tests.acceptance.command import pipeline as command
from tests.faults.case import case, end, kill
from tests.faults.oracle import CANARY, check_canary
from tests.judge import Judge

Judges = Callable[..., Judge]

PLAIN_KEY = "Zq7canary.5f2e-9d4c1b8a"
"""A key that looks like none, and could be a code or a name: only who knows it can find it."""
QUOTED_KEY = "Zq7canary/5f2e+9d4c1b8a"
FORMS = (PLAIN_KEY, base64.b64encode(PLAIN_KEY.encode()).decode(), QUOTED_KEY, quote(QUOTED_KEY, safe=""))
ECHOED = {"plain": (PLAIN_KEY, 0), "base64": (PLAIN_KEY, 1), "quoted": (QUOTED_KEY, 3)}
"""A key, and the form in which the server sends it back."""
PROMPT = "the-prompt-of-a-customer"
ANSWER = "the-answer-for-a-customer"


# A server that the test itself plays


@dataclass
class Reply:
    """What is answered."""

    status: int = 200
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None


@contextlib.contextmanager
def server(reply: Callable[[Json], Reply]) -> Iterator[tuple[str, list[Json]]]:
    """Serve on loopback; yields the base URL and the bodies that came."""
    bodies: list[Json] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            said = reply(body)
            content = said.body if isinstance(said.body, bytes) else orjson.dumps(said.body)
            self.send_response(said.status, said.reason)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/v1", bodies
        finally:
            listening.shutdown()
            thread.join()


def chat_answer(body: Json, **more: Json) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return {"object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage, **more}


def embedding_answer(body: Json) -> Json:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": index, "embedding": [0.5, 1.0]} for index in range(len(texts))]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "model": body["model"], "data": data, "usage": usage}


def chat_line(number: int, **body: Json) -> Json:
    full = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": f"{PROMPT} {number}"}], **body}
    return {"custom_id": f"task-{number}", "method": "POST", "url": "/v1/chat/completions", "body": full}


def embedding_line(number: int, **body: Json) -> Json:
    full = {"model": "m", "input": f"{PROMPT} {number}", **body}
    return {"custom_id": f"task-{number}", "method": "POST", "url": "/v1/embeddings", "body": full}


def write_job(home: Path, url: str, records: Sequence[Json], key: str = "env:CANARY_KEY", **keys: Json) -> Path:
    home.mkdir(exist_ok=True)
    write_records(home / "in.jsonl", records)
    write_endpoint(home, "own", url, api_key=key, prices="free")
    defaults: dict[str, Json] = {
        "job": "chat",
        "endpoint": "own",
        "input": {"path": "in.jsonl"},
        "output": {"path": "out.jsonl"},
        "limits": {"concurrency": 2},
        "retry": {"attempts": 2, "base": 0.01, "cap": 0.01},
    }
    path = home / "job.yaml"
    path.write_bytes(orjson.dumps(defaults | keys))
    return path


def run(home: Path, config: Path, *flags: str, key: str = PLAIN_KEY, **extra: str) -> Ended:
    return command("run", str(config), *flags, home=home, extra={"CANARY_KEY": key, **extra}, seconds=60)


def refused(home: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ended:
    """Run the command in this process: what is refused at once needs none of its own."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("CANARY_KEY", PLAIN_KEY)
    monkeypatch.setenv("PIPELINE_STATE", str(home / "usage"))
    code = exit_code_of(lambda: commands.main(["run", str(config)], standalone_mode=False))
    return Ended(code, *capsys.readouterr())


def places_of(words: Sequence[str], home: Path, ended: Ended, but: Sequence[str] = ()) -> list[str]:
    """Where one of `words` is found: a stream, or a file below `home` that the test did not write itself."""
    streams = {"stdout": ended.out, "stderr": ended.err}
    found = [name for name, text in streams.items() if any(word in text for word in words)]
    files = [path for path in home.rglob("*") if path.is_file() and path.name not in but]
    return found + [str(path) for path in files if any(word.encode() in path.read_bytes() for word in words)]


# 94: where a key may come from


@pytest.mark.row(94)
def test_a_key_leaves_the_environment_once_it_is_read(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    look = "import atexit, os; atexit.register(lambda: open('seen.txt', 'w').write(str('CANARY_KEY' in os.environ)))"
    ended = job.run(code=look)

    assert ended.code == 0, ended.err
    assert (job.home / "seen.txt").read_text() == "False"
    job.finish()


@pytest.mark.row(94)
@pytest.mark.parametrize(("mode", "code"), [(0o600, 0), (0o644, 2), (0o640, 2), (0o604, 2)])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int, code: int) -> None:
    home = tmp_path / "home"
    with server(lambda body: Reply(body=chat_answer(body))) as (url, bodies):
        config = write_job(home, url, [chat_line(1)], key="file:{here}/key")
        (home / "key").write_text(f"{PLAIN_KEY}\n")
        (home / "key").chmod(mode)
        ended = run(home, config, key="unused")

    assert ended.code == code, ended.err
    assert len(bodies) == (1 if code == 0 else 0)
    assert ("chmod 600" in ended.err) == (code == 2)
    assert places_of(FORMS, home, ended, but=["key"]) == []


@pytest.mark.row(94)
def test_a_dotenv_with_the_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with server(lambda body: Reply(body=chat_answer(body))) as (url, bodies):
        config = write_job(home, url, [chat_line(1)])
        (home / ".env").write_text(f"CANARY_KEY={PLAIN_KEY}\n")
        (home / ".env").chmod(0o644)
        open_to_all = command("run", str(config), home=home)
        (home / ".env").chmod(0o600)
        private = command("run", str(config), home=home)

    assert (open_to_all.code, private.code, len(bodies)) == (2, 0, 1)
    assert places_of(FORMS, home, open_to_all, but=[".env"]) == []


@pytest.mark.row(94)
@pytest.mark.parametrize(
    "flags",
    [
        ["--api-key", CANARY],
        [f"--api-key={CANARY}"],
        ["--set", f"api_key={CANARY}"],
        ["--set", f"params.api_key={CANARY}"],
    ],
)
def test_a_key_on_the_command_line_is_refused_and_not_repeated(judge: Judges, tmp_path: Path, flags: list[str]) -> None:
    job = case(judge, tmp_path)
    ended = job.run(*flags)

    assert (ended.code, job.sent) == (2, 0)
    check_canary(job.home, ended.out, ended.err)


# 95: a server that sends the key back


def _error(status: int = 400, **error: str) -> Reply:
    return Reply(status, {"error": error})


ECHOES: dict[str, Callable[[Json, str], Reply]] = {
    "message": lambda _, key: _error(message=f"the key {key} is wrong", code="bad"),
    "code": lambda _, key: _error(message="no", code=key),
    "type": lambda _, key: _error(message="no", type=key),
    "plain text": lambda _, key: Reply(400, f"key {key}".encode()),
    "long text": lambda _, key: Reply(400, (f"{'x' * 180} {key}" * 3).encode()),
    "fastapi": lambda _, key: Reply(422, {"detail": f"Bearer {key}"}),
    "unauthorized": lambda _, key: _error(401, message=f"Incorrect API key provided: {key}", code=key),
    "server error": lambda _, key: _error(500, message=key, type=key, code=key),
    "throttled": lambda _, key: Reply(
        400, {"error": {"message": key}}, {"retry-after": key, "x-ratelimit-limit-tokens": key}
    ),
    "redirect": lambda _, key: Reply(302, b"", {"Location": f"https://evil.test/{key}?key={key}"}),
    "reason phrase": lambda _, key: Reply(400, b"", reason=key),
    "error in 200": lambda _, key: _error(200, message=key, code=key),
    "not JSON": lambda _, key: Reply(200, key.encode()),
    "request id": lambda body, key: Reply(200, chat_answer(body), {"x-request-id": key}),
    "model": lambda body, key: Reply(200, chat_answer(body, model=key)),
    "tier": lambda body, key: Reply(200, chat_answer(body, service_tier=key)),
    "finish reason": lambda body, key: Reply(
        200, chat_answer(body, choices=[{"index": 0, "message": {"content": None}, "finish_reason": key}])
    ),
    "index": lambda body, key: Reply(200, chat_answer(body, choices=[{"index": key, "message": {"content": "x"}}])),
    "usage": lambda body, key: Reply(200, chat_answer(body, usage={key: key, "prompt_tokens": key})),
    "encoding": lambda body, key: Reply(200, chat_answer(body), {"Content-Encoding": key}),
    "bad header": lambda body, key: Reply(200, chat_answer(body), {"Transfer-Encoding": key}),
}


@pytest.mark.row(95)
@pytest.mark.parametrize("name", ECHOED)
def test_a_key_that_the_server_sends_back_is_nowhere(tmp_path: Path, name: str) -> None:
    """One record for each way to send it back; those that stop the job are tried one by one."""
    key, number_of_form = ECHOED[name]
    form = FORMS[number_of_form]

    def reply(body: Json) -> Reply:
        way = body["messages"][0]["content"].partition(": ")[2]
        return ECHOES[way](body, form)

    stopping = {"unauthorized", "redirect"}
    batches = [[way for way in ECHOES if way not in stopping], *([way] for way in stopping if name == "plain")]
    with server(reply) as (url, bodies):
        for number, batch in enumerate(batches):
            home = tmp_path / f"home-{number}"
            records = [chat_line(0, messages=[{"role": "user", "content": f"echo: {way}"}]) for way in batch]
            config = write_job(home, url, records)
            watched = ("--log-file", "log", "--joblog", "joblog", "--metrics-file", "metrics.prom")
            ended = run(home, config, "-vv", "--log-format", "json", *watched, key=key)
            assert ended.code == (3 if number == 0 else 6), ended.err
            assert {"log", "joblog", "metrics.prom"} <= {path.name for path in home.iterdir()}
            found = places_of(FORMS, home, ended, but=["out.jsonl"])
            assert found == [], ended.err
            if number == 0:
                lines = read_lines(home / "out.jsonl")
                assert [line for line in lines if form in str(line) and not _in_answer(line)] == []
    assert len(bodies) > len(ECHOES) - len(stopping)


def _in_answer(line: Json) -> bool:
    """Whether the key is part of the body that was answered, which is given as it came."""
    body = line["response"]["body"]
    named = {"line": {**line, "response": {**line["response"], "body": None}}, "model": body.get("model")}
    return not any(form in str(named) for form in FORMS)


# 95 and 96: every artefact of a run in which everything fails


@pytest.mark.row(95)
@pytest.mark.row(96)
def test_the_canary_is_in_no_artefact_of_a_run_with_failures_of_every_kind(judge: Judges, tmp_path: Path) -> None:
    shares = {
        "key_echoed_400": 0.1, "key_echoed_500": 0.1, "server_error": 0.05, "bad_gateway": 0.05, "html": 0.05,
        "truncated_json": 0.05, "too_few": 0.05, "reset_mid_body": 0.05, "rate_limited_ms": 0.02, "error_in_200": 0.05,
        "invalid_request": 0.05,
    }  # fmt: skip
    faults = [word for name, share in shares.items() for word in ("--fault", f"{name}={share}")]
    retry = {"attempts": 4, "base": 0.01, "cap": 0.05}
    job = case(judge, tmp_path, *faults, records=120, batch={"max_items": 3}, retry=retry)
    process = job.start("-vv", "--log-format", "json")
    job.strike_after(10, process)
    killed = kill(process)
    ended = job.run("-vv", "--log-format", "json")

    assert ended.code == 3, ended.err
    assert len({letter["code"] for letter in read_lines(job.places.errors)}) >= 2
    check_canary(job.home, killed.out, killed.err, ended.out, ended.err)
    assert (job.home / "usage" / "usage.db").exists()


BROKEN_JOB = """
from jobs.chat import Chat

class Broken(Chat):
    def render(self, record):
        key, prompt = KEY, str(record.data)
        raise ValueError(f"{key} {prompt}") from KeyError(key)
"""


@pytest.mark.row(96)
def test_a_bug_in_a_job_shows_its_place_and_no_value(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = write_job(home, "http://127.0.0.1:9/v1", [chat_line(1)], job="broken:Broken")
    (home / "broken.py").write_text(f"KEY = {PLAIN_KEY!r}\n{BROKEN_JOB}")
    ended = run(home, config, "-vv", PYTHONPATH=str(home))
    letters = read_lines(home / "out.jsonl.errors.jsonl")

    assert ended.code == 3
    assert letters[0]["code"] == "bug"
    assert "broken.py:8" in letters[0]["message"]
    assert places_of(FORMS, home, ended, but=["broken.py", "broken.cpython-311.pyc"]) == []
    assert PROMPT not in ended.err


_FAILING = """
import asyncio, gc, sys, threading
import pipeline.runner
import pipeline.storage.ledger

go_on = pipeline.runner.Run._run

def fail(*_):
    key = KEY
    raise RuntimeError(key)

async def fail_later(*_):
    fail()

async def with_thread(self, stack):
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    await go_on(self, stack)

async def with_forgotten_task(self, stack):
    asyncio.ensure_future(fail_later())
    await asyncio.sleep(0.01)
    gc.collect()
    await go_on(self, stack)
"""
CRASHES = {
    "main thread": "pipeline.runner.Run._run = fail_later",
    "writer thread": "pipeline.storage.ledger.Ledger.commit = fail",
    "another thread": "pipeline.runner.Run._run = with_thread",
    "forgotten task": "pipeline.runner.Run._run = with_forgotten_task",
    "import": "sys.modules['pipeline.runner'] = None",
}


@pytest.mark.row(96)
@pytest.mark.parametrize("place", CRASHES)
def test_a_crash_shows_no_value(judge: Judges, tmp_path: Path, place: str) -> None:
    job = case(judge, tmp_path)
    spelt = f"KEY = bytes({list(PLAIN_KEY.encode())}).decode()"  # or the key is in the source of the traceback
    ended = job.run("-vv", code=f"{spelt}\n{_FAILING}\n{CRASHES[place]}")

    assert ended.code in (0, 1, 74)
    assert "RuntimeError" in ended.err or "ModuleNotFoundError" in ended.err
    assert places_of(FORMS, job.home, ended) == []


@pytest.mark.row(96)
def test_a_faulthandler_dump_holds_no_value_and_no_core_is_left(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.3", records=20, limits={"concurrency": 1})
    process = job.start(
        "-v", under=["env", "PYTHONFAULTHANDLER=1", "bash", "-c", 'ulimit -c unlimited; exec "$@"', "bash"]
    )
    job.strike_after(1, process)
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    process.send_signal(signal.SIGABRT)
    ended = end(process)

    assert "Max core file size        0                    0" in limits
    assert ended.code == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in ended.err
    assert [path for path in job.home.iterdir() if path.name.startswith("core")] == []
    check_canary(job.home, ended.out, ended.err)
    job.finish()


# 97: a line cannot lead elsewhere


@contextlib.contextmanager
def trap() -> Iterator[tuple[str, list[object]]]:
    """A host that nothing may connect to; yields its address and who came."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, address = listening.accept()
                    came.append(address)
                    connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}", came
        finally:
            stop.set()
            thread.join()


@pytest.mark.row(97)
def test_a_line_that_names_another_host_is_a_dead_letter_and_nobody_is_called(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with server(lambda body: Reply(body=chat_answer(body))) as (url, bodies), trap() as (evil, came):
        there = f"http://{evil}/v1"
        bodies_of_evil: list[Json] = [
            {name: value}
            for name, value in {
                "base_url": there, "api_base": there, "api_key": "x", "headers": {"Host": evil}, "proxy": there,
                "extra_headers": {"Authorization": "x"}, "extra_body": {"base_url": there}, "url": there,
                "metadata": {"base_url": there}, "prediction": {"api_base": there}, "stream_options": {"headers": {}},
                "tools": [{"type": "mcp", "headers": {"Authorization": "x"}}], "stream": True,
            }.items()
        ]  # fmt: skip
        urls = [
            f"//{evil}/v1/chat/completions",
            f"{there}/chat/completions",
            "/v1/../../x",
            "/v1/chat/completions?x=1",
            "/v1/chat/completions#",
            f"@{evil}/v1/chat/completions",
        ]
        records = [chat_line(number, **more) for number, more in enumerate(bodies_of_evil)]
        records += [{**chat_line(100), "url": each} for each in urls]
        records += [{**chat_line(200), "base_url": there, "headers": {"Host": evil}}]
        config = write_job(home, url, [*records, chat_line(300)])
        ended = run(home, config)
        answered = [line["custom_id"] for line in read_lines(home / "out.jsonl")]

    assert ended.code == 3
    assert answered == ["task-200", "task-300"], "keys beside the body are not sent at all"
    assert [body.keys() for body in bodies] == [chat_line(0)["body"].keys()] * 2
    assert came == []
    assert {letter["code"] for letter in read_lines(home / "out.jsonl.errors.jsonl")} == {
        "field_not_allowed",
        "wrong_url",
        "stream_not_supported",
    }


# 98: where a key may be sent to

REFUSED_URLS = [
    "http://api.openai.com/v1", "http://10.0.0.1/v1", "file:///etc/passwd", "ftp://api.openai.com",
    "//api.openai.com/v1",
    "https://user:pass@api.openai.com/v1", "https://user@api.openai.com/v1", "https://169.254.169.254/v1",
    "https://[fe80::1]/v1", "https://[::ffff:169.254.169.254]/v1", "https://[64:ff9b::a9fe:a9fe]/v1",
    "https://[2002:a9fe:a9fe::]/v1", "https://[fd00:ec2::254]/v1", "https://100.100.100.200/v1", "https://0.0.0.0/v1",
    "http://0.0.0.0:80/v1", "https://2852039166/v1", "https://0xa9fea9fe/v1", "https://0251.0376.0251.0376/v1",
    "https://169.254.43518/v1", "https://127.1/v1", "https://api.openai.com./v1", "https://\u0430pi.openai.com/v1",
    "https://api。openai.com/v1", "https://ⓐpi.openai.com/v1", "https://api.openai.com:0/v1", "https://api.openai.com:99999/v1",
    "https://api.openai.com\\@evil.test/v1", "https://api.openai.com/v1?key=x", "https://api.openai.com/v1#x",
    "https:///v1", "https://", "api.openai.com/v1", "javascript:alert(1)", "unix:///run/x.sock", "http://localhost.evil.test/v1",
    "http://127.0.0.1.evil.test/v1", "https://exa mple.com/v1", "https://example.com/v1\r\nHost: evil.test",
]  # fmt: skip


@pytest.mark.row(98)
@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_base_url_that_a_key_must_not_go_to_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_base_url(url)


@pytest.mark.row(98)
@pytest.mark.parametrize(
    "url", [REFUSED_URLS[0], "https://u:Zq7canary.5f2e-9d4c1b8a@api.openai.com/v1", "https://169.254.169.254/v1"]
)
def test_a_refused_base_url_is_exit_2_and_nothing_is_sent(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    config = write_job(home, url, [chat_line(1)])
    ended = refused(home, config, monkeypatch, capsys)

    assert ended.code == 2
    assert places_of(FORMS, home, ended, but=["endpoints.yaml"]) == []


@pytest.mark.row(98)
@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "100.100.100.200"])
def test_a_name_that_leads_to_a_metadata_address_is_exit_6(tmp_path: Path, address: str) -> None:
    home = tmp_path / "home"
    config = write_job(home, "https://metadata.test/v1", [chat_line(1)])
    family = "AF_INET6" if ":" in address else "AF_INET"
    rest = ", 0, 0" if ":" in address else ""
    lie = f"""
import socket, sys
sys.modules["uvloop"] = None
sys.argv[1:] = ["run", {str(config)!r}]
def lie(host, port, *a, **k): return [(socket.{family}, socket.SOCK_STREAM, 6, "", ({address!r}, port{rest}))]
socket.getaddrinfo = lie
from pipeline.cli import main
main()
"""
    process = subprocess.run(
        [sys.executable, "-c", lie],
        cwd=home,
        env=environment(home, {"CANARY_KEY": PLAIN_KEY}),
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert process.returncode == 6, process.stderr
    assert b"an address that requests must never go to" in process.stderr


# 99, 100: names

EVIL_IDS = [
    "a\nb",
    "\x1b[2J\x1b]0;x\x07",
    "../../etc/passwd",
    "\u202egnp.exe",
    "a\x00b",
    "\u2028",
    "x" * 512,
    "..",
    "/",
    "é" * 256,
]


@pytest.mark.row(99)
@pytest.mark.parametrize("style", ["text", "json"])
def test_a_hostile_custom_id_is_data_and_nothing_else(tmp_path: Path, style: str) -> None:
    home = tmp_path / "home"

    def reply(body: Json) -> Reply:
        if "bad" in body["messages"][0]["content"]:
            return _error(message="\x1b[31mno\nfake log line", code="x\ny")
        return Reply(body=chat_answer(body), headers={"x-request-id": "a\tb\x7f"})

    with server(reply) as (url, _):
        records = [{**chat_line(number), "custom_id": each} for number, each in enumerate(EVIL_IDS)]
        refused = {**chat_line(0, messages=[{"role": "user", "content": "bad"}]), "custom_id": EVIL_IDS[1]}
        config = write_job(home, url, [*records, {**chat_line(0), "custom_id": "x" * 1_000_000}, refused])
        before = {path for path in tmp_path.rglob("*") if "home" not in path.parts}
        ended = run(home, config, "-vv", "--log-format", style)
    letters = {letter["code"]: letter for letter in read_lines(home / "out.jsonl.errors.jsonl")}

    assert ended.code == 3
    assert [line["custom_id"] for line in read_lines(home / "out.jsonl")] == EVIL_IDS
    assert letters["id_too_long"]["line"] == len(EVIL_IDS) + 1
    assert all(each.isprintable() for each in ended.err.splitlines())
    assert not [line for line in ended.err.splitlines() if line.startswith("fake")]
    assert len((home / "out.jsonl").read_bytes().splitlines()) == len(EVIL_IDS)
    assert {path for path in tmp_path.rglob("*") if "home" not in path.parts} == before


@pytest.mark.row(100)
@pytest.mark.parametrize(
    "keys",
    [
        {"name": "../x"}, {"name": "/etc/x"}, {"name": "a\0b"}, {"name": ".."}, {"name": "a/b"}, {"name": ""},
        {"job": "../jobs/chat"}, {"job": "/tmp/evil.py"}, {"job": "os:system"}, {"job": "a\0b"}, {"job": "chat;id"},
        {"output": {"path": "out\0.jsonl"}}, {"state": "st\0ate"},
    ],
)  # fmt: skip
def test_a_name_that_is_no_name_is_refused(
    tmp_path: Path, keys: dict[str, Json], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    config = write_job(home, "http://127.0.0.1:9/v1", [chat_line(1)], **keys)
    ended = refused(home, config, monkeypatch, capsys)

    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    assert sorted(path.name for path in home.iterdir()) == ["endpoints.yaml", "in.jsonl", "job.yaml"]


@pytest.mark.row(100)
@pytest.mark.parametrize(
    "what", ["out.jsonl.state", "out.jsonl.partial", "out.jsonl", "out.jsonl.state/lock", "out.jsonl.state/ledger.db"]
)
def test_a_symbolic_link_is_not_followed(tmp_path: Path, what: str) -> None:
    home = tmp_path / "home"
    with server(lambda body: Reply(body=chat_answer(body))) as (url, bodies):
        config = write_job(home, url, [chat_line(1)])
        aim = tmp_path / "aim"
        if what.endswith(".state"):
            aim.mkdir()
        else:
            aim.write_bytes(b"precious")
        (home / what).parent.mkdir(exist_ok=True)
        (home / what).symlink_to(aim)
        ended = run(home, config)

    assert ended.code in (2, 5, 74), ended.err
    assert bodies == []
    assert aim.is_dir() or aim.read_bytes() == b"precious"
    assert not aim.is_dir() or not list(aim.iterdir())


@pytest.mark.row(100)
def test_a_state_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with server(lambda body: Reply(body=chat_answer(body))) as (url, bodies):
        config = write_job(home, url, [chat_line(1)])
        state = home / "out.jsonl.state"
        state.mkdir()
        try:
            os.chown(state, 65_534, 65_534)
        except PermissionError:
            pytest.skip("only root can give a directory away")
        ended = run(home, config)

    assert (ended.code, bodies) == (2, [])


# 101: secrets in configs


@pytest.mark.row(101)
@pytest.mark.parametrize("place", ["api_key", "endpoints", "params", "text", "name", "headers", "file", "organization"])
def test_a_secret_in_a_config_is_refused_and_not_repeated(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    secret = "sk-proj-canaryAbCdEfGh0123456789"
    keys: dict[str, dict[str, Json]] = {
        "api_key": {"api_key": secret},
        "params": {"params": {"metadata": {"x": secret}}},
        "text": {"prompt": f"{{{{ x }}}} {secret}"},
        "name": {"name": secret},
        "headers": {"params": {"headers": {"Authorization": f"Bearer {secret}"}}},
    }
    config = write_job(home, "http://127.0.0.1:9/v1", [chat_line(1)], **keys.get(place, {}))
    if place == "endpoints":
        write_endpoint(home, "own", "http://127.0.0.1:9/v1", api_key=secret)
    if place == "organization":
        write_endpoint(home, "own", "http://127.0.0.1:9/v1", organization=secret)
    if place == "file":
        write_endpoint(home, "own", "http://127.0.0.1:9/v1", api_key=f"Bearer {secret}")
    ended = refused(home, config, monkeypatch, capsys)

    assert ended.code == 2, ended.err
    assert places_of([secret], home, ended, but=["job.yaml", "endpoints.yaml"]) == []


# 102: prompts and answers in logs


@pytest.mark.row(102)
@pytest.mark.parametrize("style", ["text", "json"])
def test_no_prompt_and_no_answer_is_logged(tmp_path: Path, style: str) -> None:
    home = tmp_path / "home"
    replies: list[Callable[[Json], Reply]] = [
        lambda body: Reply(body=chat_answer(body)),
        lambda _: Reply(500, {"error": {"message": "down"}}),
        lambda _: Reply(200, f"not JSON {ANSWER}".encode()),
        lambda body: Reply(200, chat_answer(body, choices=[{"index": 5, "message": {"content": ANSWER}}])),
        lambda _: Reply(400, {"error": {"message": "no", "code": "bad"}}),
    ]
    turns = itertools.cycle(replies)
    with server(lambda body: next(turns)(body)) as (url, _):  # noqa: PLW0108 - each call takes the next
        records = [*[chat_line(number) for number in range(30)], {"not": PROMPT}, PROMPT]
        config = write_job(home, url, records, model="m", prompt="{{ text }}", max_output_tokens=5)
        ended = run(home, config, "-vv", "--log-format", style, "--json")

    kept = {"out.jsonl", "out.jsonl.errors.jsonl", "in.jsonl", "ledger.db", "ledger.db-wal"}
    assert ended.code == 3
    assert places_of([PROMPT, ANSWER], home, ended, but=[*kept]) == []


# 103: end users


@pytest.mark.row(103)
@pytest.mark.parametrize(
    ("job", "line", "answer", "name"),
    [("chat", chat_line, chat_answer, "safety_identifier"), ("embeddings", embedding_line, embedding_answer, "user")],
)
def test_an_end_user_is_a_keyed_hash_to_the_provider(
    tmp_path: Path, job: str, line: Callable[..., Json], answer: Callable[[Json], Json], name: str
) -> None:
    home = tmp_path / "home"
    people = ["ann@example.com", "bob", "ann@example.com", "x" * 1000, "é", {"email": "eve@example.com"}, 17]
    with server(lambda body: Reply(body=answer(body))) as (url, bodies):
        config = write_job(home, url, [line(n, user=each) for n, each in enumerate(people)], job=job)
        ended = run(home, config)
    secret_file = home / "usage" / "secret"
    secret = bytes.fromhex(secret_file.read_text())
    texts = {each if isinstance(each, str) else orjson.dumps(each).decode() for each in people}

    assert ended.code == 0, ended.err
    assert secret_file.stat().st_mode & 0o777 == 0o600
    assert len(secret) == 32
    assert {body[name] for body in bodies} == {
        hmac.new(secret, text.encode(), hashlib.sha256).hexdigest() for text in texts
    }
    assert all(len(body[name]) == 64 and {"user", "safety_identifier"} & body.keys() == {name} for body in bodies)
    assert "example.com" not in str(bodies)


@pytest.mark.row(103)
def test_the_same_user_has_the_same_hash_in_every_run_and_a_hash_stays_as_it_is(tmp_path: Path) -> None:
    ready = hashlib.sha256(b"ann").hexdigest()
    seen: list[list[str]] = []
    home = tmp_path / "home"
    with server(lambda body: Reply(body=chat_answer(body))) as (url, bodies):
        for number in range(2):
            records = [
                chat_line(0, user="ann"),
                chat_line(1, safety_identifier=ready, user="ann"),
                chat_line(2, user=None),
            ]
            config = write_job(home, url, records, output={"path": f"out-{number}.jsonl"}, limits={"concurrency": 1})
            assert run(home, config).code == 0
            seen.append(sorted(body.get("safety_identifier", "") for body in bodies))
            bodies.clear()

    assert seen[0] == seen[1]
    assert seen[0][0] == ""
    assert ready in seen[0]


@pytest.mark.row(103)
def test_an_exposed_secret_is_refused_and_nothing_is_sent(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with server(lambda body: Reply(body=chat_answer(body))) as (url, bodies):
        config = write_job(home, url, [chat_line(0, user="ann")])
        (home / "usage").mkdir()
        (home / "usage" / "secret").write_text("00" * 32)
        (home / "usage" / "secret").chmod(0o644)
        exposed = run(home, config)
        (home / "usage" / "secret").chmod(0o600)
        good = run(home, config)

    assert (exposed.code, good.code, len(bodies)) == (2, 0, 1)


@pytest.mark.row(103)
@pytest.mark.parametrize("content", ["", "short", "zz" * 32, "00" * 31, "00" * 33])
def test_a_damaged_secret_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    (tmp_path / "secret").chmod(0o600)
    with pytest.raises(UsageError):
        read_local_secret({"PIPELINE_STATE": str(tmp_path)})


@pytest.mark.row(103)
def test_processes_that_make_the_secret_at_once_agree_on_it(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def read(_: int) -> bytes:
        barrier.wait()
        return read_local_secret({"PIPELINE_STATE": str(tmp_path / "state")})

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(read, range(8)))

    assert len(found) == 1
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["secret"]


# 104, and what the code must not hold

ROOT = Path(pipeline.__file__).parent.parent


@pytest.mark.row(104)
def test_every_dependency_is_locked_by_hash() -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    own = [package["name"] for package in packages if "registry" not in package["source"]]
    files = [
        (package["name"], file)
        for package in packages
        for file in [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
    ]

    assert own == ["pipeline"]
    assert [name for name, file in files if not file.get("hash", "").startswith("sha256:")] == []
    assert {name for name, _ in files} == {package["name"] for package in packages} - {"pipeline"}


@pytest.mark.row(104)
def test_every_dependency_of_the_project_is_in_the_lock_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {package["name"] for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    wanted = [re.split(r"[^A-Za-z0-9._-]", dependency)[0] for dependency in project["dependencies"]]

    assert {name.lower().replace("_", "-") for name in wanted} <= locked


FORBIDDEN_CALLS = {"eval", "exec", "compile_restricted", "__import__"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "yaml"}


@pytest.mark.row(104)
def test_the_program_neither_unpickles_nor_evaluates_nor_trusts_any_certificate() -> None:
    found = []
    for path in [*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("jobs/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                found.append(f"{path}:{node.lineno} {node.func.id}")
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path} {name}" for name in names if name.partition(".")[0] in FORBIDDEN_MODULES]
            if isinstance(node, ast.Attribute) and node.attr == "CERT_NONE":
                found.append(f"{path}:{node.lineno} CERT_NONE")
            if isinstance(node, ast.keyword) and node.arg in {"ssl", "verify", "verify_ssl", "shell"}:
                value = node.value
                off = isinstance(value, ast.Constant) and value.value is (node.arg == "shell")
                found += [f"{path}:{value.lineno} {node.arg}"] if off else []

    assert found == []
