"""Results on stdout: real shell pipes, readers that are slow or go away, and runs that are killed meanwhile."""

from __future__ import annotations

import gzip
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from pipeline.types import Json
from tests.acceptance.command import environment, write_config
from tests.judge import Judge

Judges = Callable[..., Judge]
COMMAND = shlex.join([sys.executable, "-m", "pipeline"])
RUN = "zcat in.jsonl.gz | PIPELINE run pipes.yaml -i - -o - --state state"
PATIENCE = 120


class Bench:
    """A folder with a compressed input, and a server of its own."""

    def __init__(self, home: Path, judge: Judge, records: int, order: str = "input", **keys: Json) -> None:
        self.home, self.judge, self.records = home, judge, records
        with gzip.open(home / "in.jsonl.gz", "wb") as file:
            file.writelines(b'{"text":"text %d"}\n' % number for number in range(records))
        self.keys = {
            "job": "embeddings",
            "endpoint": "simulator",
            "model": "simulator-hashing-256",
            "input": {"path": "in.jsonl.gz"},
            "output": {"path": "out.jsonl", "keep": ["text"], "order": order},
            "text": "{{ text }}",
            "limits": {"concurrency": 8, "rpm": 1_000_000},
        }
        write_config(home, "pipes", **{**self.keys, **keys})

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """Start a bash script; PIPELINE is the command."""
        return subprocess.Popen(
            ["bash", "-c", script.replace("PIPELINE", f"exec {COMMAND}" if script.startswith("PIPE") else COMMAND)],
            cwd=self.home,
            env=environment(self.home, self.judge.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, script: str) -> tuple[bytes, bytes]:
        """Run a bash script to its end and return what it wrote to stdout and stderr."""
        process = self.start(script)
        try:
            return process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()

    def asked(self) -> Counter[str]:
        """How often each text was asked for with success."""
        return Counter(text for entry in self.judge.served() for text in entry.inputs)

    def texts(self) -> list[str]:
        return [f"text {number}" for number in range(self.records)]


def texts_in(output: bytes) -> list[str]:
    return [orjson.loads(line)["text"] for line in output.splitlines()]


@pytest.mark.parametrize("order", ["input", "done"])
def test_head_ends_the_run_quietly_and_the_next_run_neither_loses_nor_buys_again(
    judge: Judges, tmp_path: Path, order: str
) -> None:
    bench = Bench(tmp_path, judge("--engine", "hashing", "--latency", "0.05", "--jitter", "0.04"), 4000, order)
    first, said = bench.run(f"{RUN} | head -5; echo ${{PIPESTATUS[1]}} >&2")
    bought = sum(bench.asked().values())
    second, _ = bench.run(RUN)
    third, _ = bench.run(RUN)
    print(f"\n{bought} of 4000 bought when head had 5; then {len(texts_in(second))} lines, bought twice: 0")

    assert said == b"141\n", "nothing but the exit code"
    assert len(first.splitlines()) == 5
    assert bought < 2000
    assert second.startswith(first), "every run begins with the first line"
    assert sorted(texts_in(second)) == sorted(bench.texts())
    assert max(bench.asked().values()) == 1
    assert sum(bench.asked().values()) == 4000
    assert sorted(third.splitlines()) == sorted(second.splitlines())
    if order == "input":
        assert texts_in(second) == bench.texts()


def test_lines_come_while_the_run_goes_on(judge: Judges, tmp_path: Path) -> None:
    bench = Bench(tmp_path, judge("--engine", "hashing", "--latency", "0.2"), 4000)
    process = bench.start("PIPELINE run pipes.yaml -o - --state state")
    assert process.stdout is not None
    first = process.stdout.readline()
    asked = sum(bench.asked().values())
    process.terminate()
    rest = process.stdout.read()
    process.communicate(timeout=PATIENCE)

    assert texts_in(first) == ["text 0"]
    assert asked < 2000
    assert process.returncode == 143
    assert rest.endswith(b"\n"), "what a stopped run wrote ends with a whole line"
    assert texts_in(first + rest) == bench.texts()[: len(texts_in(rest)) + 1]


def test_blank_lines_and_dead_letters_hold_nothing_up(judge: Judges, tmp_path: Path) -> None:
    bench = Bench(tmp_path, judge("--engine", "hashing"), 40, batch={"max_items": 1})
    lines = [b'{"text":"one"}', b"", b'{"text":"POISON"}', b"  ", b"{broken", b'{"text":"two"}', b""]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    pipe = "(cat in.jsonl; exec sleep 30 2>&-) | PIPELINE run pipes.yaml -i - -o - --state state"
    process = bench.start(pipe)
    assert process.stdout is not None
    began = time.monotonic()
    first = [process.stdout.readline() for _ in range(2)]
    seconds = time.monotonic() - began
    os.kill(int((tmp_path / "state" / "lock").read_text().split()[1]), signal.SIGTERM)
    process.kill()
    process.communicate(timeout=PATIENCE)

    assert [orjson.loads(line)["text"] for line in first] == ["one", "two"]
    assert seconds < 20


def resident(pid: int) -> int:
    """Bytes of memory that a process has had at the most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


@pytest.mark.parametrize("order", ["input", "done"])
def test_a_slow_reader_slows_the_run_in_bounded_memory(judge: Judges, tmp_path: Path, order: str) -> None:
    bench = Bench(tmp_path, judge("--engine", "hashing"), 20_000, order)
    process = bench.start("PIPELINE run pipes.yaml -o - --state state")
    assert process.stdout is not None
    served = -1
    while served != (served := len(bench.judge.served())) or not served:
        time.sleep(1.0)  # until nothing more is asked for, although nobody stops it but the reader
    memory, lines = [resident(process.pid)], 0
    for line in process.stdout:
        lines += line.endswith(b"\n")
        if lines in {2000, 19_000}:
            time.sleep(1.0)  # a reader that pauses
            memory.append(resident(process.pid))
    process.communicate(timeout=PATIENCE)
    shown = ", ".join(f"{size >> 20}" for size in memory)
    print(f"\n{served * 20} of 20000 bought while nobody read; at most {shown} MiB resident after 0, 2000, 19000 lines")

    assert (process.returncode, lines) == (0, 20_000)
    assert served * 20 < 2_000
    assert max(memory) < memory[0] + (24 << 20)


def test_an_interrupt_ends_the_wait_for_a_reader_that_takes_nothing(judge: Judges, tmp_path: Path) -> None:
    bench = Bench(tmp_path, judge("--engine", "hashing"), 150)
    process = bench.start("PIPELINE run pipes.yaml -o - --state state")
    while not (tmp_path / "state" / "output.jsonl").exists():
        time.sleep(0.02)  # until there is nothing left to do but to deliver
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=PATIENCE)
    process.communicate()
    again, _ = bench.run("PIPELINE run pipes.yaml -o - --state state")

    assert code == 130
    assert texts_in(again) == bench.texts()
    assert sum(bench.asked().values()) == 150, "nothing was bought again"


@pytest.mark.parametrize("order", ["input", "done"])
def test_kills_while_it_streams_to_an_appended_file_leave_every_line_once(
    judge: Judges, tmp_path: Path, order: str
) -> None:
    bench = Bench(tmp_path, judge("--engine", "hashing", "--latency", "0.05", "--jitter", "0.05"), 4000, order)
    (tmp_path / "all.jsonl").write_bytes(b"")
    rng = random.Random(order)
    sizes = []
    for _ in range(6):
        process = bench.start("PIPELINE run pipes.yaml -o - --state state >> all.jsonl")
        target = (tmp_path / "all.jsonl").stat().st_size + rng.randrange(1, 1_500_000)
        while (tmp_path / "all.jsonl").stat().st_size < target and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.communicate()
        sizes.append((tmp_path / "all.jsonl").stat().st_size)
    bench.run("PIPELINE run pipes.yaml -o - --state state >> all.jsonl")
    delivered = (tmp_path / "all.jsonl").read_bytes()
    on_disk = Counter(texts_in(delivered))
    again = sum(count - 1 for count in bench.asked().values())
    print(f"\nsizes at the kills {sizes}, then {len(on_disk)} lines; {again} of 4000 in flight at a kill sent again")

    assert len(set(sizes)) == 6, "every run appended something"
    assert set(on_disk) == set(bench.texts())
    assert max(on_disk.values()) == 1
    assert again <= 6 * 8 * 20, "no more than what was in flight"
    if order == "input":
        assert texts_in(delivered) == bench.texts()
