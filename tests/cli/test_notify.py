from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import environment, run
from tests.config.files import config_file
from tests.faults.raw_server import RawServer, answer, closed_port, says

CANARY = "canary-0123456789"


def test_a_test_is_delivered_and_the_command_says_so(tmp_path: Path) -> None:
    with RawServer(then=says(answer(b""))) as server:
        more = "notify: {command: ['true'], webhook: {url: env:HOOK}, on: [failed]}\n"
        config_file(tmp_path, more)
        hook = f"http://127.0.0.1:{server.port}/{CANARY}"
        done = run("notify", "run.yaml", cwd=tmp_path, env=environment(tmp_path, HOOK=hook))

    assert (done.returncode, done.stderr, len(server.requests)) == (0, "", 1)
    first, second, last = done.stdout.splitlines()
    assert first.startswith("command: delivered (0.")
    assert second.startswith("webhook (env:HOOK): delivered (0.")
    assert last == "a run tells of failed; a heartbeat of every run"
    assert not (tmp_path / "out.jsonl.state").exists()


@pytest.mark.parametrize(
    ("status", "environ", "code"),
    [("404 Not Found", True, 6), ("503 Service Unavailable", True, 7), ("200 OK", False, 6)],
)
def test_who_was_not_told_is_in_the_exit_code(tmp_path: Path, status: str, environ: bool, code: int) -> None:
    with RawServer(then=says(answer(CANARY.encode(), status=status), stays=False)) as server:
        config_file(tmp_path, "notify: {webhook: {url: env:HOOK}}\n")
        hook = {"HOOK": f"http://127.0.0.1:{server.port}/{CANARY}"} if environ else {}
        done = run("notify", "run.yaml", cwd=tmp_path, env=environment(tmp_path, **hook))

    assert done.returncode == code
    assert f"not delivered: it answered {status}" in done.stdout or not environ
    assert CANARY not in done.stdout + done.stderr


def test_who_cannot_be_reached_now_may_be_later(tmp_path: Path) -> None:
    with closed_port() as port:
        config_file(tmp_path, f"heartbeat: {{url: 'http://127.0.0.1:{port}/'}}\n")
        done = run("notify", "run.yaml", cwd=tmp_path)

    assert done.returncode == 7
    assert "heartbeat (127.0.0.1): not delivered: cannot be reached (connection refused)" in done.stdout


def test_a_config_that_tells_nobody_is_refused(tmp_path: Path) -> None:
    config_file(tmp_path)
    done = run("notify", "run.yaml", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert "nobody is to be told" in done.stderr
