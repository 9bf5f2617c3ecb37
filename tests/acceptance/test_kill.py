"""kill -9 in the middle of a job, then the same command."""

from __future__ import annotations

import gzip
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from pipeline.simulator import digest
from tests.acceptance.command import pipeline, read_lines, start, write_config, write_records
from tests.judge import Judge

RECORDS = int(os.environ.get("PIPELINE_TEST_KILL_RECORDS", "20000"))
KILLS = int(os.environ.get("PIPELINE_TEST_KILLS", "3"))


def on_disk(path: Path) -> set[str]:
    """Digests of the texts whose answers are whole lines of the output."""
    if not path.exists():
        return set()
    return {digest(orjson.loads(line)["text"]) for line in path.read_bytes().split(b"\n")[:-1] if line}


@pytest.mark.parametrize("order", ["input", "done"])
def test_the_same_command_finishes_what_a_kill_interrupted(
    judge: Callable[..., Judge], tmp_path: Path, order: str
) -> None:
    server = judge("--engine", "hashing", "--latency", "0.15", "--jitter", "0.1")
    texts = [f"text {number} of {RECORDS}" for number in range(RECORDS)]
    write_records(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    config = write_config(
        tmp_path,
        "kill",
        job="embeddings",
        endpoint="simulator",
        model="simulator-hashing-256",
        input={"path": "in.jsonl"},
        output={"path": "out.jsonl", "keep": ["text"], "order": order},
        text="{{ text }}",
        limits={"concurrency": 64, "rpm": 1_000_000},
        budget={"hard_usd": 1},
    )
    kept: list[tuple[int, set[str]]] = []
    for kill in range(1, KILLS + 1):
        process = start(["run", str(config)], tmp_path, server.environment)
        while len(server.served()) < kill * RECORDS // 20 // (KILLS + 2) and process.poll() is None:
            time.sleep(0.02)  # the server is another process: it can only be watched
        process.kill()
        process.communicate()
        kept.append((len(server.entries()), on_disk(tmp_path / "out.jsonl.partial")))
    ended = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)
    entries, lines = server.entries(), read_lines(tmp_path / "out.jsonl")
    asked = [{shown for entry in entries[before:] for shown in entry.inputs} for before, _ in kept]
    again = [shown for later, (_, owned) in zip(asked, kept, strict=True) for shown in later & owned]
    money = ended.summary["money"]
    counts = Counter(line["custom_id"] for line in lines)
    print(
        f"\n{KILLS} kills, {len(lines)} lines, {len(again)} bought again of {len(kept[-1][1])} on disk; "
        f"billed {server.billed()} <= recorded {money['spent_nusd'] + money['unknown_nusd']} <= {money['cap_nusd']}"
    )

    assert ended.code == 0
    assert kept[-1][1]
    assert set(counts) == {str(number) for number in range(1, RECORDS + 1)}
    assert max(counts.values()) == 1
    assert {line["text"] for line in lines} == set(texts)
    assert again == []
    assert server.billed() <= money["spent_nusd"] + money["unknown_nusd"] <= money["cap_nusd"]
    # Of runs that could not count at their end, what was answered counts; what was in flight may not have been.
    assert RECORDS // 20 - KILLS * 64 <= ended.summary["requests"]["ok"] <= len(entries)
    if order == "input":
        assert [line["text"] for line in lines] == texts


@pytest.mark.parametrize("order", ["input", "done"])
def test_kills_while_a_finished_output_is_compressed_cost_nothing_but_time(
    judge: Callable[..., Judge], tmp_path: Path, order: str
) -> None:
    server, records, chance = judge("--engine", "hashing"), 6_000, random.Random(order)
    noise = [chance.randbytes(1500).hex() for _ in range(records)]
    write_records(tmp_path / "in.jsonl", [{"text": f"text {n}", "noise": noise[n]} for n in range(records)])
    config = write_config(
        tmp_path,
        "kill",
        job="embeddings",
        endpoint="simulator",
        model="simulator-hashing-256",
        input={"path": "in.jsonl"},
        output={"path": "out.jsonl.gz", "order": order, "keep": ["noise"]},
        text="{{ text }}",
        limits={"concurrency": 32, "rpm": 1_000_000},
    )
    draft, output, sizes = tmp_path / "out.jsonl.gz.ordered", tmp_path / "out.jsonl.gz", []
    for _ in range(KILLS):
        draft.unlink(missing_ok=True)  # of the last kill
        process = start(["run", str(config)], tmp_path, server.environment)
        while not draft.exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.4))  # compression takes longer
        process.kill()
        process.communicate()
        sizes.append(draft.stat().st_size)
        assert not output.exists()
    bought = len(server.served())
    ended = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)
    checked = pipeline("check", str(config), home=tmp_path, extra=server.environment)
    lines = [int(orjson.loads(line)["custom_id"]) for line in gzip.decompress(output.read_bytes()).splitlines()]
    print(
        f"\nkilled with {sizes} bytes compressed; {len(lines)} lines, {len(server.served()) - bought} bought after that"
    )

    assert ended.code == 0
    assert len(server.served()) == bought == records // 20
    assert sorted(lines) == list(range(1, records + 1))
    assert order == "done" or lines == sorted(lines)
    assert checked.out == f"{records:,} records, no problem\n"
