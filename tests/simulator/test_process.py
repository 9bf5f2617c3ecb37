"""The simulator as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson
import pytest
from click.testing import CliRunner

from pipeline.simulator import FAULTS, bill
from pipeline.simulator.command import simulate


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "pipeline.simulator", "--engine", "hashing", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline().strip()
        finally:
            running.kill()


def embed(url: str, text: str) -> int:
    body = orjson.dumps({"model": "any", "input": text})
    with urlopen(Request(url + "/embeddings", body), timeout=20) as response:
        return int(response.status)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_serves_and_stops_when_told(number: signal.Signals) -> None:
    with process() as (running, url):
        status = embed(url, "a")
        running.send_signal(number)
        out, err = running.communicate(timeout=20)

    assert (status, running.returncode, out) == (200, 0, "")
    assert err == f"Until Ctrl-C. To lead runs here: export OPENAI_BASE_URL={url}\n"


def test_a_port_that_is_taken_is_refused() -> None:
    with process() as (_, url):
        port = url.rpartition(":")[2].removesuffix("/v1")
        with process("--port", port) as (refused, _):
            _, err = refused.communicate(timeout=20)

    assert refused.returncode != 0
    assert f"cannot serve on 127.0.0.1:{port}: address already in use; --port 0 takes a free port" in err


def test_the_bill_of_a_killed_simulator_is_right(tmp_path: Path) -> None:
    with process("--record", str(tmp_path / "record.jsonl")) as (running, url):
        embed(url, "one two three")
        running.kill()
        running.wait()

    assert bill(tmp_path / "record.jsonl") == 3 * 20


def test_flags_set_limits_and_faults() -> None:
    with process("--rpm", "60", "--script", "reset_before_response", "--fault", "conflict=1") as (_, url):
        with pytest.raises(ConnectionResetError):
            embed(url, "a")
        with pytest.raises(HTTPError) as caught:
            embed(url, "a")
        caught.value.close()

    assert caught.value.code == 429


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fault", "server_eror=0.1"], "did you mean 'server_error'"),
        (["--fault", "server_error"], "not NAME=SHARE"),
        (["--rpm", "0"], "rpm must be at least 1"),
    ],
)
def test_wrong_flags_are_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(simulate, arguments)

    assert result.exit_code == 2
    assert message in result.output


def test_the_faults_can_be_listed() -> None:
    assert CliRunner().invoke(simulate, ["--list-faults"]).output.split() == list(FAULTS)
