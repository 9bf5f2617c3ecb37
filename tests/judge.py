"""A built-in server in a process of its own, with a record on disk: the judge outlives whoever it judges."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.simulator import Entry, bill, read_record


class Judge(NamedTuple):
    """A running server."""

    url: str
    record: Path

    @property
    def environment(self) -> dict[str, str]:
        """What leads a run to it."""
        return {"SIMULATOR_BASE_URL": self.url}

    def entries(self) -> list[Entry]:
        """What it saw so far."""
        return list(read_record(self.record)) if self.record.exists() else []

    def served(self) -> list[Entry]:
        return [entry for entry in self.entries() if entry.status == 200]

    def billed(self) -> int:
        """Nano-USD."""
        return bill(self.record) if self.record.exists() else 0


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Callable[..., Judge]]:
    """Starts a server with flags of `pipeline simulate`; all are ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> Judge:
        record = tmp_path / f"record-{len(processes)}.jsonl"
        command = [sys.executable, "-m", "pipeline.simulator", "--port", "0", "--record", str(record), *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(process)
        assert process.stdout is not None
        return Judge(process.stdout.readline().strip(), record)

    yield start
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
