"""A built-in server in a process of its own, with a record on disk: the judge outlives whoever it judges."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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


@contextmanager
def judged(folder: Path, *flags: str) -> Iterator[Judge]:
    """Start a server with flags of `pipeline simulate`, and end it."""
    record = folder / f"record-{len(list(folder.glob('record-*')))}.jsonl"
    record.touch()
    command = [sys.executable, "-m", "pipeline.simulator", "--port", "0", "--record", str(record), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield Judge(process.stdout.readline().strip(), record)
        finally:
            process.kill()


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Callable[..., Judge]]:
    """Starts a server with flags of `pipeline simulate`; all are ended with the test."""
    with ExitStack() as servers:
        yield lambda *flags: servers.enter_context(judged(tmp_path, *flags))
