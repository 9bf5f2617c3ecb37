"""One small job that a fault strikes: its files, its server, and what must be true of it in the end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from pipeline.simulator import digest
from pipeline.storage.state import Places, default_state
from pipeline.types import Json
from tests.acceptance.command import Ended, environment, write_config, write_endpoint, write_records
from tests.faults.oracle import CANARY, check_canary, check_files, check_money, check_outcomes
from tests.judge import Judge


@dataclass(frozen=True)
class Case:
    """A config, its input and its judge.

    Attributes:
        home: The folder that everything lies in, and the working directory.
        texts: The input, line by line.
        places: Where output and state are to be.
    """

    home: Path
    judge: Judge
    config: Path
    texts: Sequence[str]
    places: Places

    def start(
        self, *flags: str, under: Sequence[str] = (), code: str | None = None, stderr: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """Start `pipeline run`.

        Args:
            flags: Of the command.
            under: Words before the command.
            code: Python code that is run first, in the same process.
            stderr: As for Popen.
        """
        program = ["-m", "pipeline"] if code is None else ["-c", f"{code}\nfrom pipeline.cli import main\nmain()"]
        return subprocess.Popen(
            [*under, sys.executable, *program, "run", str(self.config), "--json", *flags],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def run(self, *flags: str, under: Sequence[str] = (), code: str | None = None, seconds: float = 60) -> Ended:
        """Run `pipeline run` to its end."""
        return end(self.start(*flags, under=under, code=code), seconds)

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.home, {"CANARY_KEY": CANARY})

    def begin(self, usd: str = "0.000001") -> list[str]:
        """Run until the money is spent, and return the texts that are answered by then."""
        ended = self.run("--budget", usd)
        assert ended.code == 4, ended.err
        assert self.on_disk, "nothing was answered"
        return self.on_disk

    def die(self, requests: int = 4) -> list[str]:
        """Run, kill -9 after so many more requests, and return the texts that were answered."""
        process = self.start()
        self.strike_after(self.sent + requests, process)
        kill(process)
        return self.on_disk

    def finish(self, *flags: str) -> Ended:
        """Run again without a fault, and check everything."""
        ended = self.run(*flags)
        assert ended.code == 0, ended.err
        check_outcomes(self.home, range(1, len(self.texts) + 1), str(self.places.output))
        check_money(ended.summary, self.judge)
        check_files(self.home, str(self.places.output))
        check_canary(self.home, ended.out, ended.err)
        assert self.answered == list(self.texts)
        return ended

    @property
    def answered(self) -> list[str]:
        """The texts of the finished output."""
        return [orjson.loads(line)["text"] for line in self.places.output.read_bytes().splitlines()]

    @property
    def on_disk(self) -> list[str]:
        """The texts that have a whole line in the unfinished output."""
        if not self.places.partial.exists():
            return []
        return [orjson.loads(line)["text"] for line in self.places.partial.read_bytes().split(b"\n")[:-1]]

    @property
    def sent(self) -> int:
        """Requests that the server saw."""
        return len(self.judge.entries())

    def asked(self, texts: Iterable[str], since: int = 0) -> int:
        """How often the server was asked for one of `texts`, after its first `since` requests."""
        wanted = {digest(text) for text in texts}
        return sum(shown in wanted for entry in self.judge.entries()[since:] for shown in entry.inputs)

    def strike_after(self, requests: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until the server has seen so many requests."""
        wait_until(lambda: self.sent >= requests or process.poll() is not None)
        assert process.poll() is None, "the process ended before the fault could strike"


def case(judge: Callable[..., Judge], tmp_path: Path, *server: str, records: int = 60, **keys: Json) -> Case:
    """Make a case.

    Args:
        judge: The fixture.
        tmp_path: The fixture.
        server: Flags of the server.
        records: How many.
        keys: Of the config.
    """
    started = judge("--engine", "hashing", *server)
    home = tmp_path / "home"
    home.mkdir()
    return case_at(home, started, records, **keys)


def case_at(home: Path, judge: Judge, records: int, **keys: Json) -> Case:
    """Make a case in an existing folder, for a server that runs already."""
    texts = [f"text {number}" for number in range(1, records + 1)]
    write_records(home / "in.jsonl", [{"text": text} for text in texts])
    write_endpoint(home, "own", judge.url, api_key="env:CANARY_KEY", provider="simulator")
    defaults: dict[str, Json] = {
        "job": "embeddings",
        "endpoint": "own",
        "model": "simulator-hashing-256",
        "input": {"path": "in.jsonl"},
        "output": {"path": str(home / "out.jsonl"), "keep": ["text"]},
        "text": "{{ text }}",
        "batch": {"max_items": 5},
        "limits": {"concurrency": 4},
        "budget": {"hard_usd": 1},
    }
    settings = defaults | keys
    output = Path(settings["output"]["path"])
    return Case(home, judge, write_config(home, "job", **settings), texts, Places(output, default_state(output)))


def end(process: subprocess.Popen[bytes], seconds: float = 60) -> Ended:
    """Wait for a process to end; kill it and fail where it does not."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()
    return Ended(process.returncode, (out or b"").decode(), (err or b"").decode())


def kill(process: subprocess.Popen[bytes]) -> Ended:
    """kill -9."""
    process.kill()
    return end(process)


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    """Watch another process: it cannot tell."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"waited {seconds:g} s in vain"
        time.sleep(0.02)
