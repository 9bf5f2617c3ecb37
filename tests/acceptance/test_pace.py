"""What a run says about its own speed, against the built-in server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.acceptance.command import pipeline, write_config, write_records
from tests.judge import Judge

PACE = {
    "bound_by",
    "why",
    "seconds",
    "waiting",
    "executing",
    "held_up",
    "paused",
    "requests_per_minute",
    "tokens_per_minute",
    "utilisation",
    "in_flight",
    "concurrency",
    "batch_items",
    "batch_fill",
    "cpu_seconds",
    "cpu_share",
    "loop_cpu_seconds",
    "disk_seconds",
    "load",
}


def config(home: Path, records: int, **keys: object) -> str:
    write_records(home / "in.jsonl", [{"text": f"record {number}"} for number in range(records)])
    written = write_config(
        home,
        "job",
        job="embeddings",
        endpoint="simulator",
        model="simulator-hashing-256",
        input={"path": "in.jsonl"},
        output={"path": "out.jsonl"},
        text="{{ text }}",
        **keys,
    )
    return str(written)


def test_a_run_at_its_limit_says_what_bound_it(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--rpm", "600", "--burst-seconds", "1")
    path = config(tmp_path, 380, limits={"rpm": 600}, batch={"max_items": 10})
    ended = pipeline("run", path, "--json", home=tmp_path, extra=server.environment)
    pace = ended.summary["pace"]
    written = orjson.loads((tmp_path / "out.jsonl.state" / "run.json").read_bytes())

    assert ended.code == 0
    assert set(pace) == PACE
    assert set(pace["waiting"]) == set(pace["executing"]) == {"p50", "p90", "p99", "max"}
    assert pace["bound_by"] == "requests"
    assert pace["why"].startswith("bound by requests a minute (")
    assert (pace["batch_items"], pace["batch_fill"]) == (10, 1)
    assert pace["cpu_seconds"] > 0
    assert pace["disk_seconds"] > 0
    assert written["pace"] == pace


@pytest.mark.parametrize("flags", [(), ("-q",)])
def test_a_short_run_says_so_unless_it_was_told_to_be_quiet(
    judge: Callable[..., Judge], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    server = judge("--engine", "hashing")
    ended = pipeline("run", config(tmp_path, 3), *flags, home=tmp_path, extra=server.environment)

    assert ended.code == 0
    assert ("too short to say what bound it" in ended.err) is (flags == ())
