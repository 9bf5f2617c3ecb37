"""Two processes at once on one endpoint and key: they share its limit."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from pipeline.simulator import digest
from tests.acceptance.command import read_lines, start, write_config, write_records
from tests.judge import Judge

RPM = 3_000
RECORDS = 130
"""Of each run: at half of the limit, five seconds."""


def begin(home: Path, name: str, server: Judge, records: int = RECORDS) -> subprocess.Popen[bytes]:
    """Start a run whose records are named after it."""
    write_records(home / f"{name}.jsonl", [{"text": text} for text in texts(name, records)])
    config = write_config(
        home,
        name,
        job="embeddings",
        endpoint="simulator",
        model="simulator-hashing-256",
        input={"path": f"{name}.jsonl"},
        output={"path": f"{name}-out.jsonl", "keep": ["text"]},
        text="{{ text }}",
        batch={"max_items": 1},
        limits={"concurrency": 16, "rpm": RPM},
    )
    return start(["run", str(config), "-q"], home, server.environment)


def texts(name: str, records: int = RECORDS) -> list[str]:
    return [f"{name} {number}" for number in range(records)]


def served(server: Judge, name: str) -> list[float]:
    """When the server answered each request of the run."""
    own = {digest(text) for text in texts(name)}
    return [entry.time for entry in server.served() if own.issuperset(entry.inputs)]


def test_two_runs_at_once_are_refused_nothing_and_have_the_same_share(
    judge: Callable[..., Judge], tmp_path: Path
) -> None:
    server = judge("--engine", "hashing", "--rpm", str(RPM))
    runs = [begin(tmp_path, name, server) for name in ("one", "other")]
    ended = [run.communicate(timeout=60) for run in runs]
    one, other = served(server, "one"), served(server, "other")
    start_of_both, end_of_both = max(one[0], other[0]), min(one[-1], other[-1])
    parts = [sum(start_of_both <= at <= end_of_both for at in times) for times in (one, other)]

    assert [run.returncode for run in runs] == [0, 0]
    assert ended == [(b"", b""), (b"", b"")], "neither has anything to say"
    assert [entry.status for entry in server.entries()] == [200] * 2 * RECORDS
    assert min(parts) >= 0.4 * sum(parts)
    assert list((tmp_path / "usage" / "limits").iterdir()) == []


def test_a_run_that_is_killed_leaves_its_share_to_the_other(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--rpm", str(RPM))
    killed, other = (begin(tmp_path, name, server) for name in ("killed", "other"))
    while len(served(server, "killed")) < 25 and killed.poll() is None:
        time.sleep(0.02)  # the server is another process: it can only be watched
    killed.kill()
    killed.communicate()
    end = served(server, "killed")[-1]
    other.communicate(timeout=60)
    after = [at for at in served(server, "other") if at > end + 0.5]
    gaps = [later - earlier for earlier, later in pairwise(after)]

    assert other.returncode == 0
    assert len(read_lines(tmp_path / "other-out.jsonl")) == RECORDS
    assert {entry.status for entry in server.entries()} == {200}
    assert sorted(gaps)[len(gaps) // 2] < 1.5 * 60 / RPM, "the median: it has the whole limit"
