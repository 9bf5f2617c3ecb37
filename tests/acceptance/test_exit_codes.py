"""Every exit code of the documentation, from the real command; what each one means is tried closer in other files."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.command import Ended, environment, pipeline, start, write_config, write_endpoint, write_records
from tests.judge import Judge

BUG = """
from jobs.embeddings import Embeddings

class Buggy(Embeddings):
    def render(self, record):
        raise KeyError("a bug")
"""


class Scene:
    """A job in a folder, and its server."""

    def __init__(self, home: Path, server: Judge) -> None:
        self.home = home
        self.server = server
        write_records(home / "in.jsonl", [{"text": f"text {number}"} for number in range(100)])
        write_endpoint(home, "own", server.url, api_key="env:OWN_KEY", provider="simulator")

    def config(self, **keys: object) -> str:
        defaults: dict[str, object] = {
            "job": "embeddings",
            "endpoint": "own",
            "model": "simulator-hashing-256",
            "input": {"path": "in.jsonl"},
            "output": {"path": "out.jsonl"},
            "text": "{{ text }}",
            "batch": {"max_items": 10},
            "limits": {"concurrency": 1},
        }
        return str(write_config(self.home, "job", **{**defaults, **keys}))

    def run(self, *flags: str, key: str = "key", **keys: object) -> Ended:
        extra = {"OWN_KEY": key, "PYTHONPATH": str(self.home)}
        return pipeline("run", self.config(**keys), *flags, home=self.home, extra=extra)

    def begin(self, **keys: object) -> subprocess.Popen[bytes]:
        """Start, and wait until two requests were sent."""
        process = start(["run", self.config(**keys)], self.home, {"OWN_KEY": "key"})
        while len(self.server.entries()) < 2 and process.poll() is None:
            time.sleep(0.02)  # the server is another process: it can only be watched
        return process


def complete(scene: Scene) -> int:
    return scene.run().code


def bug(scene: Scene) -> int:
    (scene.home / "buggy.py").write_text(BUG)
    return scene.run(job="buggy:Buggy").code


def refused(scene: Scene) -> int:
    return scene.run("--rpm", "0").code


def dead_letters(scene: Scene) -> int:
    write_records(scene.home / "in.jsonl", [{"text": "fine"}, {"text": ""}])
    return scene.run().code


def budget(scene: Scene) -> int:
    return scene.run("--budget", "0.000001").code


def deadline(scene: Scene) -> int:
    return scene.run("--deadline", "1", limits={"concurrency": 1, "per_second": 1}).code


def mismatch(scene: Scene) -> int:
    scene.run("--budget", "0.000001")
    (scene.home / "in.jsonl").write_text('{"text": "other"}\n')
    return scene.run().code


def wrong_key(scene: Scene) -> int:
    return scene.run(key="wrong").code


def too_many_failures(scene: Scene) -> int:
    write_records(scene.home / "in.jsonl", [{"text": ""}] * 3)
    return scene.run("--max-failures", "2").code


def unavailable(scene: Scene) -> int:
    write_endpoint(scene.home, "own", "http://127.0.0.1:9/v1", provider="simulator")
    return scene.run(retry={"max_outage": 1}).code


def full(scene: Scene) -> int:
    command = ["prlimit", "--fsize=50000", sys.executable, "-m", "pipeline", "run", scene.config()]
    extra = environment(scene.home, {"OWN_KEY": "key"})
    return subprocess.run(command, cwd=scene.home, env=extra, capture_output=True, timeout=60, check=False).returncode


def locked(scene: Scene) -> int:
    first = scene.begin()
    second = scene.run()
    first.kill()
    first.communicate()
    return second.code


def interrupted(number: signal.Signals) -> Callable[[Scene], int]:
    def strike(scene: Scene) -> int:
        process = scene.begin()
        process.send_signal(number)
        process.communicate(timeout=20)
        return process.returncode

    return strike


def reader_gone(scene: Scene) -> int:
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        scene.config(),
        "-o",
        "-",
        "--state",
        "state",
        "--order",
        "done",
    ]
    environ = environment(scene.home, {"OWN_KEY": "key"})
    with subprocess.Popen(command, cwd=scene.home, env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        return process.wait(timeout=20)


SCENES: list[tuple[int, Callable[[Scene], int], tuple[str, ...]]] = [
    (0, complete, ()),
    (1, bug, ()),
    (2, refused, ()),
    (3, dead_letters, ()),
    (4, budget, ()),
    (4, deadline, ()),
    (5, mismatch, ()),
    (6, wrong_key, ("--require-key", "key")),
    (6, too_many_failures, ()),
    (7, unavailable, ()),
    (74, full, ()),
    (75, locked, ("--latency", "0.4")),
    (130, interrupted(signal.SIGINT), ("--latency", "0.4")),
    (141, reader_gone, ("--latency", "0.2")),
    (143, interrupted(signal.SIGTERM), ("--latency", "0.4")),
]


@pytest.mark.parametrize(("code", "scene", "flags"), SCENES, ids=lambda value: getattr(value, "__name__", None))
def test_the_command_ends_with_the_documented_code(
    judge: Callable[..., Judge], tmp_path: Path, code: int, scene: Callable[[Scene], int], flags: tuple[str, ...]
) -> None:
    if scene is full and shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")

    assert scene(Scene(tmp_path, judge("--engine", "hashing", *flags))) == code


def test_no_documented_code_is_left_out(tmp_path: Path) -> None:
    told = pipeline("--help", home=tmp_path).out.partition("Exit codes:")[2].partition("Options:")[0]

    assert {int(code) for code in re.findall(r"\b\d+\b", told)} | {1} == {code for code, _, _ in SCENES}
