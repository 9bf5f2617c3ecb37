"""What a storm rages over: a small job, a server with its own record, and what must be true between two runs."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.simulator import Entry, digest
from pipeline.simulator.record import parse_record
from pipeline.simulator.text import expected_text
from pipeline.storage.state import Places, default_state
from pipeline.types import Json
from tests.acceptance.command import Ended
from tests.faults.storms.interposer import Strike, variables

TREE = Path(__file__).resolve().parents[3]
"""The tree that is tested: the one that this file lies in, whatever is installed."""
_VARYING = ("attempt", "usage", "cost_usd")
"""What depends on which request a record went with."""


class Broken(AssertionError):
    """A promise that did not hold."""


def expect(true: bool, what: str) -> None:
    if not true:
        raise Broken(what)


class Server(NamedTuple):
    """A simulator in a process of its own."""

    url: str
    record: Path

    def size(self) -> int:
        return self.record.stat().st_size if self.record.exists() else 0

    def count(self, position: int) -> int:
        """How many requests it saw after that."""
        return self.lines(position).count(b"\n")

    def since(self, position: int) -> list[Entry]:
        """What it saw after its record had `position` bytes."""
        return parse_record(self.lines(position))

    def lines(self, position: int) -> bytes:
        """The whole lines of its record from `position` on; it may be writing the next one."""
        if not self.record.exists():
            return b""
        with self.record.open("rb") as record:
            record.seek(position)
            content = record.read()
        return content[: content.rfind(b"\n") + 1]


@contextlib.contextmanager
def serving(folder: Path, *flags: str) -> Iterator[Server]:
    """Run a simulator; it ends with the block."""
    record = folder / "record.jsonl"
    command = [sys.executable, "-m", "pipeline.simulator", "--engine", "hashing", "--record", str(record), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(folder), cwd=folder)
    try:
        yield Server(process.stdout.readline().strip() if process.stdout else "", record)
    finally:
        process.kill()
        process.communicate()


def environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(TREE)}


class Recorded(NamedTuple):
    """What a ledger says, read from a copy; all in nano-USD."""

    spent: int = 0
    unknown: int = 0
    reserved: int = 0
    inflight: int = 0
    """Attempts that may be on the wire."""

    @property
    def total(self) -> int:
        return self.spent + self.unknown + self.reserved


def recorded(ledger: Path) -> Recorded:
    """Read a ledger whose process is dead; it stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{ledger}{suffix}", f"{folder}/ledger.db{suffix}")
        if not Path(folder, "ledger.db").exists():
            return Recorded()
        with contextlib.closing(sqlite3.connect(f"{folder}/ledger.db")) as db:
            spent, unknown = db.execute("SELECT spent, unknown FROM progress").fetchone()
            reserved, rows = db.execute("SELECT ifnull(sum(reserve), 0), count(*) FROM inflight").fetchone()
    return Recorded(spent, unknown, reserved, rows)


@dataclass
class Scene:
    """One output: its config and input in `home`, and what was seen of it so far.

    Attributes:
        home: Everything lies in it; the working directory of every run.
        server: Where its requests go.
        records: How many lines the input has.
        keys: Further keys of the config.
        cap: Dollars; the hard budget of every run.
        asked: Digests of the prompts that the server was asked for since `look` was last called.
        billed: Nano-USD, by the server's record.
    """

    home: Path
    server: Server
    records: int
    keys: dict[str, Json] = field(default_factory=dict)
    cap: float = 1.0
    billed: int = 0
    asked: set[str] = field(default_factory=set)
    requests: int = 0
    name: str = ""
    """What the prompts begin with, where it is not the folder's name."""
    edition: str = ""
    """What the prompts end with."""
    outside: Path | None = None
    """Where logs go, if not beside `home`."""
    rebuilding: bool = False
    """The ledger is damaged, lost or being rebuilt: its money counts in the end only."""
    forgotten: int = 0
    """Nano-USD that nobody can know of, since a ledger was destroyed while they were on the wire."""

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.position = len(self.server.lines(0))
        self.owned: set[str] = set()
        if not (self.home / "in.jsonl").exists():
            self.write_input(self.records)
            self.write_config()

    @property
    def places(self) -> Places:
        output = self.home / self.keys.get("output", {}).get("path", "out.jsonl")
        return Places(output, default_state(output))

    def prompt(self, line: int) -> str:
        return f"{self.name or self.home.name} {line}{self.edition}"

    def write_input(self, records: int) -> None:
        self.records = records
        lines = (orjson.dumps({"q": self.prompt(line)}) + b"\n" for line in range(1, records + 1))
        (self.home / "in.jsonl").write_bytes(b"".join(lines))

    def write_config(self) -> None:
        config: dict[str, Json] = {
            "job": "completions",
            "endpoint": "simulator",
            "model": "simulator-text-1",
            "input": {"path": "in.jsonl"},
            "output": {"path": "out.jsonl", "keep": ["q"]},
            "prompt": "{{ q }}",
            "params": {"max_tokens": 4},
            "batch": {"max_items": 4},
            "limits": {"concurrency": 1, "rpm": 1_000_000},
            **self.keys,
        }
        (self.home / "job.yaml").write_bytes(orjson.dumps(config))

    def start(self, *flags: str, strike: Strike | None = None) -> subprocess.Popen[bytes]:
        """Start `pipeline run`; its usage log lies outside of `home`."""
        beside = self.beside
        beside.mkdir(exist_ok=True)
        settings = environment(beside) | {"SIMULATOR_BASE_URL": self.server.url, "PIPELINE_STATE": str(beside)}
        if strike is not None:
            settings |= variables(self.home, self.log, strike)
        words = ["run", "job.yaml", "--json", "--budget", f"{self.cap:.9f}", *flags]
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words],
            cwd=self.home,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def log(self) -> Path:
        """Where the interposer writes."""
        return (self.outside or self.home.parent) / f"{self.home.name}.log"

    @property
    def beside(self) -> Path:
        """The user's home and usage log."""
        return (self.outside or self.home.parent) / f"{self.home.name}.beside"

    def run(self, *flags: str, strike: Strike | None = None, seconds: float = 60) -> Ended:
        """Run to the end."""
        return end(self.start(*flags, strike=strike), seconds)

    def copy(self, name: str) -> Scene:
        """Copy everything to a folder beside this one, for a fault that others shall not see."""
        home = self.home.with_name(name)
        if home.exists():
            shutil.rmtree(home)
        shutil.copytree(self.home, home, symlinks=True)
        scene = Scene(
            home,
            self.server,
            self.records,
            self.keys,
            cap=self.cap,
            billed=self.billed,
            name=self.name or self.home.name,
            edition=self.edition,
            rebuilding=self.rebuilding,
            forgotten=self.forgotten,
        )
        scene.look()
        return scene

    def remove(self) -> None:
        shutil.rmtree(self.home)
        shutil.rmtree(self.beside, ignore_errors=True)
        self.log.unlink(missing_ok=True)

    def settle(self) -> None:
        """Wait until the server has recorded what a dead run had sent."""
        before = -1
        while before != self.server.size():
            before = self.server.size()
            time.sleep(0.2)  # the server is another process: it can only be watched

    def look(self) -> None:
        """Between two runs: nothing that is on disk was asked for again, and the money is right."""
        lines = self.server.lines(self.position)
        self.position += len(lines)
        entries = parse_record(lines)
        self.requests += len(entries)
        self.billed += sum(entry.cost_nusd for entry in entries)
        again = {shown for entry in entries for shown in entry.inputs} & self.owned
        expect(not again, f"{len(again)} answers on disk were asked for again")
        if not self.rebuilding:
            self.check_money(recorded(self.places.ledger))
        self.owned = self.on_disk()

    def check_money(self, money: Recorded) -> None:
        known = self.billed - self.forgotten
        expect(known <= money.total, f"billed {known}, recorded {money}")
        expect(money.total <= round(self.cap * 1e9), f"recorded {money} of a cap of {self.cap}")

    def on_disk(self) -> set[str]:
        """Digests of the prompts whose answers are whole lines of the output."""
        found: set[str] = set()
        for path in (self.places.partial, self.places.output):
            if path.exists():
                lines = plain(path).split(b"\n")[:-1]
                found |= {digest(orjson.loads(line)["q"]) for line in lines}
        return found

    def finish(self, *flags: str) -> Ended:
        """Run without a fault: it must end with 0, the exact set, and the money right."""
        ended = self.run(*flags)
        expect(ended.code == 0, f"exit {ended.code}: {ended.err or ended.out}")
        self.look()
        self.check_set()
        money = ended.summary["money"]
        seen = Recorded(money["spent_nusd"], money["unknown_nusd"], money["reserved_nusd"])
        self.check_money(seen)
        return ended

    def check_set(self) -> None:
        """The output is the one that an undisturbed run writes, byte for byte, but for attempts and costs."""
        found = plain(self.places.output).splitlines(keepends=True)
        expect(len(found) == self.records, f"{len(found)} lines of {self.records}")
        for line, wanted in zip(found, self.expected(), strict=True):
            expect(stable(line) == wanted, f"{line!r} is not {wanted!r}")
        expect(not self.places.partial.exists(), "the partial output is still there")

    def expected(self) -> Sequence[bytes]:
        return [expected_line(line, self.prompt(line)) for line in range(1, self.records + 1)]


def plain(path: Path) -> bytes:
    """What a file holds, decompressed where its name says so."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def stable(line: bytes) -> bytes:
    """A result line without what depends on the request that it came with."""
    fields = orjson.loads(line)
    expect(fields["usage"]["prompt_tokens"] >= 0 and fields["cost_usd"] >= 0, "a line without usage or cost")
    return orjson.dumps({key: value for key, value in fields.items() if key not in _VARYING})


def expected_line(line: int, prompt: str) -> bytes:
    """What `stable` must make of the result of a line, by the simulator's rule alone."""
    return orjson.dumps(
        {
            "custom_id": str(line),
            "q": prompt,
            "text": expected_text(prompt, 0, 4),
            "finish_reason": "length",
            "truncated": True,
            "model": "simulator-text-1",
        }
    )


def end(process: subprocess.Popen[bytes], seconds: float = 60) -> Ended:
    """Wait for a process; one that hangs is killed and fails the storm."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Broken(f"it hung for {seconds:g} s") from None
    finally:
        process.kill()
        process.wait()
    expect(b"Traceback" not in err, "a traceback: " + err.decode()[-300:])
    return Ended(process.returncode, out.decode(), err.decode())
