"""What a scheduler relies on: a bare environment, deadlines that hold, failures that are named."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.types import Json
from tests.acceptance.command import Ended, pipeline, read_lines, start, write_config, write_records
from tests.judge import Judge

KEYS: dict[str, Json] = {
    "job": "embeddings",
    "endpoint": "simulator",
    "model": "simulator-hashing-256",
    "text": "{{ text }}",
    "input": {"path": "in.jsonl"},
    "output": {"path": "out.jsonl"},
    "batch": {"max_items": 1},
}


def run(home: Path, server: Judge, *flags: str, **keys: Json) -> Ended:
    config = write_config(home, "job", **{**KEYS, **keys})
    return pipeline("run", str(config), *flags, home=home, extra=server.environment)


@pytest.mark.parametrize("descriptors", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_without_environment_terminal_and_streams_a_run_does_the_same(
    judge: Callable[..., Judge], tmp_path: Path, descriptors: str
) -> None:
    server = judge("--engine", "hashing")
    write_records(tmp_path / "2026-11-25 ü.jsonl", [{"text": "ü"}])
    config = write_config(
        tmp_path,
        "job",
        **{**KEYS, "input": {"path": "{here}/{date} ü.jsonl"}, "output": {"path": "{here}/{now:%m}.jsonl"}},
    )
    (tmp_path / ".env").write_text(f"SIMULATOR_BASE_URL={server.url}\nPIPELINE_STATE={tmp_path}/usage\n")
    inner = f"exec {sys.executable} -m pipeline run {config} --date 2026-11-25 -q {descriptors}"
    command = ["env", "-i", "LC_ALL=C", "TZ=Pacific/Auckland", "/bin/sh", "-c", inner]
    ended = subprocess.run(command, cwd="/", capture_output=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert len(read_lines(tmp_path / "11.jsonl")) == 1


def test_a_run_ends_by_its_deadline_and_what_was_in_flight_came_back(
    judge: Callable[..., Judge], tmp_path: Path
) -> None:
    server = judge("--engine", "hashing", "--latency", "0.7")
    write_records(tmp_path / "in.jsonl", [{"text": f"text {number}"} for number in range(500)])
    began = time.monotonic()
    ended = run(tmp_path, server, "--deadline", "6", "--drain", "2", "--json", limits={"concurrency": 8})
    seconds = time.monotonic() - began
    sent = len(server.entries())
    print(f"\nended after {seconds:.1f} s of 6, {sent} sent")

    assert ended.code == 4
    assert ended.summary["this_run"]["seconds"] <= 6, "the deadline, the drain included"
    assert ended.summary["records"]["ok"] == sent, "all that was sent came back"
    assert ended.summary["money"]["unknown_nusd"] == 0
    assert sent >= 8 * 4, "it did not stop long before"


def test_a_deadline_ends_the_wait_for_another_run(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--latency", "30")
    write_records(tmp_path / "in.jsonl", [{"text": "text"}])
    config = write_config(tmp_path, "job", **KEYS)
    first = start(["run", str(config)], tmp_path, server.environment)
    while not server.entries() and first.poll() is None:
        time.sleep(0.02)  # the server is another process: it can only be watched
    began = time.monotonic()
    second = run(tmp_path, server, "--lock-wait", "60", "--deadline", "1")
    seconds = time.monotonic() - began
    first.kill()
    first.communicate()

    assert second.code == 75
    assert seconds < 10


def test_too_many_failures_name_the_most_frequent_reason_and_a_line(
    judge: Callable[..., Judge], tmp_path: Path
) -> None:
    server = judge("--engine", "hashing")
    bad = [{"text": "good"}, {"other": 1}, {"text": ""}, {"text": ""}, {"text": ""}]
    write_records(tmp_path / "in.jsonl", bad)
    ended = run(tmp_path, server, "--max-failures", "3")

    assert ended.code == 6
    assert (
        "more than 3 records failed (--max-failures): 3 of 4 with empty_input, the first of them in line 3 of the input"
        in ended.err
    )


def test_a_few_failures_do_not_stop_a_run(judge: Callable[..., Judge], tmp_path: Path) -> None:
    write_records(tmp_path / "in.jsonl", [{"text": "good"}, {"text": ""}])

    assert run(tmp_path, judge("--engine", "hashing"), "--max-failures", "1").code == 3


def test_an_overlap_is_75_and_says_so_unless_silence_is_asked_for(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--latency", "5")
    write_records(tmp_path / "in.jsonl", [{"text": "text"}])
    config = write_config(tmp_path, "job", **KEYS)
    first = start(["run", str(config)], tmp_path, server.environment)
    while not server.entries() and first.poll() is None:
        time.sleep(0.02)  # the server is another process: it can only be watched
    told = run(tmp_path, server, "--log-format", "text")
    silent = run(tmp_path, server, "-q")
    first.kill()
    first.communicate()

    assert (told.code, silent.code) == (75, 75)
    assert told.err.startswith("20")
    assert f"Z pipeline: another run has out.jsonl.state/lock: held by pid {first.pid}" in told.err
    assert (silent.out, silent.err) == ("", "")


def test_what_to_type_next_names_the_date(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing")
    write_records(tmp_path / "2026-11-25.jsonl", [{"text": "a"}, {"text": ""}])
    dated: dict[str, Json] = {"input": {"path": "{date}.jsonl"}, "output": {"path": "out-{date}.jsonl"}}
    ended = run(tmp_path, server, "--date", "2026-11-25", **dated)

    assert ended.code == 3
    assert "job.yaml --date 2026-11-25T00:00:00" in ended.err
