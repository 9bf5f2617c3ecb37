from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

import pipeline
from pipeline.config import load
from pipeline.notifying import audience, try_out
from pipeline.simulator import Options, Simulator
from tests.backends.wire import WireServer, answer
from tests.channels.events import told
from tests.channels.handlers import OK, writes
from tests.config.files import config_file, loaded

CANARY = "canary-0123456789"
WEBHOOK = "notify: {webhook: {url: env:HOOK, secret: env:HOOK_SECRET}}\n"


def problems(folder: Path, more: str, **environ: str) -> list[str]:
    found = audience(loaded(folder, more, environ=environ))
    texts = [f"{place}: {problem}" for place, problem in found.problems]
    assert CANARY not in str(texts)
    assert not found.channels
    return texts


def test_what_a_config_names_is_reached_and_nothing_else_is(tmp_path: Path) -> None:
    more = """notify:
  on: [failed]
  command: ["true"]
  webhook: {url: "https://hooks.example.com/a/b"}
  email: {to: o@x.org, sender: p@x.org, server: "smtp://localhost"}
  timeout: 3s
heartbeat: {url: env:PING, timeout: 4s}
"""
    found = audience(loaded(tmp_path, more, environ={"PING": f"https://hc.example.com/{CANARY}?create=1"}))

    places = [channel.place for channel in found.channels]
    assert places == ["command", "webhook (hooks.example.com)", "e-mail (localhost)"]
    assert found.heartbeat is not None
    assert found.heartbeat.place == "heartbeat (env:PING)"
    assert (found.on, found.timeout, found.heartbeat_timeout, found.problems) == (("failed",), 3, 4, [])
    assert audience(loaded(tmp_path)).channels == []


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "the environment variable HOOK is not set: it must hold the URL"),
        ({"HOOK": ""}, "the environment variable HOOK is empty: it must hold the URL"),
        ({"HOOK": f"http://{CANARY}.com/"}, "what env:HOOK names must begin with https://"),
        ({"HOOK": f"https://169.254.169.254/{CANARY}"}, "what env:HOOK names must not be a link-local"),
        ({"HOOK": f"https://{CANARY}@example.com/"}, "what env:HOOK names must not hold a user or password"),
        ({"HOOK": f"{CANARY}"}, "what env:HOOK names must be a URL such as"),
        ({"HOOK": "https://example.com/"}, "the environment variable HOOK_SECRET is not set: it must hold the webhook"),
        ({"HOOK": "https://example.com/", "HOOK_SECRET": f"whsec_{CANARY}"}, "must be base64 after whsec_"),
    ],
)
def test_what_cannot_be_used_is_a_problem_that_shows_no_value(
    tmp_path: Path, environ: dict[str, str], problem: str
) -> None:
    (text,) = problems(tmp_path, WEBHOOK, **environ)

    assert text.startswith(f"webhook (env:HOOK): {problem}")


def test_a_login_may_have_spaces_but_no_line_break(tmp_path: Path) -> None:
    more = "notify: {email: {to: o@x.org, sender: p@x.org, server: 'smtp://localhost', user: me, password: env:WORD}}\n"

    assert len(audience(loaded(tmp_path, more, environ={"WORD": "ab cd ef"})).channels) == 1
    (text,) = problems(tmp_path, more, WORD=f"{CANARY}\r\nRCPT TO:<e@x.org>")
    assert text == "e-mail (localhost): the environment variable WORD holds characters that no login has"


def test_a_secret_file_that_others_may_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(f"https://example.com/{CANARY}")
    (tmp_path / "hook").chmod(0o644)

    (text,) = problems(tmp_path, "notify: {webhook: {url: 'file:{here}/hook'}}\n")
    assert "chmod 600" in text


async def test_a_secret_file_is_read_and_its_query_is_sent(tmp_path: Path) -> None:
    async with WireServer(writes(OK)).running() as wire:
        (tmp_path / "hook").write_text(f"http://127.0.0.1:{wire.port}/a?sig={CANARY}\n")
        (tmp_path / "hook").chmod(0o600)
        (channel,) = audience(loaded(tmp_path, "notify: {webhook: {url: 'file:{here}/hook'}}\n")).channels
        await channel.deliver(told())

    assert wire.requests[0].startswith(f"POST /a?sig={CANARY} HTTP/1.1\r\n".encode())


async def test_a_command_inherits_the_environment_but_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("OPENAI_API_KEY", "HOOK", "MAIL_USER", "MAIL_WORD", "PING")
    for name in names:
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("ORDINARY", "kept")
    more = f"""notify:
  command: [sh, -c, "env > {tmp_path}/seen"]
  webhook: {{url: env:HOOK}}
  email: {{to: o@x.org, sender: p@x.org, server: "smtp://localhost", user: env:MAIL_USER, password: env:MAIL_WORD}}
heartbeat: {{url: env:PING}}
"""
    run = load(config_file(tmp_path, more), {"endpoint": "openai"}, dict(os.environ))
    await audience(run).channels[0].deliver(told())
    seen = (tmp_path / "seen").read_text()

    assert "ORDINARY=kept\n" in seen
    assert CANARY not in seen


async def test_a_test_reaches_everybody_and_says_what_came_back(tmp_path: Path) -> None:
    async with WireServer(writes(answer(b"", status="204 No Content"))).running() as wire:
        more = f"""notify:
  on: []
  command: [sh, -c, "exit 3"]
  webhook: {{url: "http://127.0.0.1:{wire.port}/hook"}}
  email: {{to: o@x.org, sender: p@x.org, server: "smtp://localhost", user: me, password: env:WORD}}
heartbeat: {{url: "http://127.0.0.1:{wire.port}/ping"}}
"""
        tried = await try_out(loaded(tmp_path, more))
    became = {each.place: each.failure and str(each.failure) for each in tried}
    paths = sorted(request.split(b" ")[1] for request in wire.requests)
    (sent,) = [orjson.loads(request.partition(b"\r\n\r\n")[2]) for request in wire.requests if b"POST" in request[:4]]

    assert became == {
        "e-mail (localhost)": "the environment variable WORD is not set: it must hold the login"
        "; export it, or write it into a .env beside the config",
        "command": "it ended with 3",
        "webhook (127.0.0.1)": None,
        "heartbeat (127.0.0.1)": None,
    }
    assert paths == [b"/hook", b"/ping"]
    assert (sent["event"], sent["text"]) == ("test", "run: a test; nothing has happened")


async def test_the_library_tells_as_the_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n{"other": 1}\n')
    async with (
        Simulator(Options(engine="hashing")) as simulator,
        WireServer(writes(OK)).running() as hook,
        WireServer(writes(answer(b"", status="404 Not Found"))).running() as ping,
    ):
        more = f"""model: simulator-hashing-256
text: "{{{{ text }}}}"
notify: {{webhook: {{url: "http://127.0.0.1:{hook.port}/"}}}}
heartbeat: {{url: "http://127.0.0.1:{ping.port}/"}}
"""
        environ = {"SIMULATOR_BASE_URL": simulator.url, "PIPELINE_STATE": str(tmp_path / "usage")}
        summary = await pipeline.arun(loaded(tmp_path, more, environ=environ))
    (event,) = [orjson.loads(request.partition(b"\r\n\r\n")[2]) for request in hook.requests]

    assert (summary.exit_code, event["event"], event["codes"]) == (3, "dead_letters", {"template": 1})
    assert event["text"].startswith("run: finished: 1 of 2 records have a result, 1 failed; cost: ")
    assert summary.notices == ("heartbeat (127.0.0.1): not delivered: it answered 404 Not Found",)
    assert [request.split(b" ")[1] for request in ping.requests] == [b"/start", b"/3"]
