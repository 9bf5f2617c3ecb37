"""Plans of outputs that earlier runs have begun: of what is left, and of that alone."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

import pipeline
from pipeline.config import Loaded, load
from pipeline.earlier import Earlier
from pipeline.planning import plan
from pipeline.simulator import Options, Simulator
from pipeline.storage.lines import CHUNK_LINES
from pipeline.types import Json
from tests.planning.inputs import EMBEDDINGS, config, texts

KEYS: dict[str, Json] = {**EMBEDDINGS, "endpoint": "simulator", "model": "simulator-hashing-256"}


@pytest.fixture
async def server() -> AsyncIterator[Simulator]:
    async with Simulator(Options(engine="hashing")) as simulator:
        yield simulator


def at(server: Simulator, loaded: Loaded, **overrides: Json) -> Loaded:
    environ = {"SIMULATOR_BASE_URL": server.url, "PIPELINE_STATE": str(loaded.folder / "usage")}
    return load(loaded.path, overrides, environ)


async def begun(server: Simulator, loaded: Loaded, records: int) -> None:
    """Run the first `records` of an input, and begin with no more."""
    run = at(server, loaded, limit=records)
    assert (await pipeline.arun(run)).exit_code == 0


async def test_what_is_settled_is_neither_counted_nor_paid_for_again(tmp_path: Path, server: Simulator) -> None:
    lines = texts(*(f"ticket {number}" * (number % 7 + 1) for number in range(300)))
    loaded = config(tmp_path, lines, KEYS)
    whole = await plan(loaded)
    await begun(server, loaded, 120)
    spent = server.record.billed_nusd
    left = await plan(loaded)

    assert (left.records, left.settled, left.requests) == (300, 120, 9)
    assert whole.cost_nusd is not None
    assert left.cost_least_nusd == left.cost_bound_nusd == whole.cost_nusd - spent
    assert left.cost_expected_nusd is not None
    assert left.cost_expected_nusd == left.cost_nusd  # the interval leaves no room for an average


async def test_of_a_complete_output_nothing_is_left(tmp_path: Path, server: Simulator) -> None:
    loaded = config(tmp_path, texts("a", "b", "c"), KEYS)
    await begun(server, loaded, 3)
    left = await plan(loaded)

    assert (left.records, left.settled, left.requests, left.cost_bound_nusd) == (3, 3, 0, 0)


async def test_a_run_that_begins_anew_pays_for_all_again(tmp_path: Path, server: Simulator) -> None:
    loaded = config(tmp_path, texts("a", "b", "c"), KEYS)
    await begun(server, loaded, 3)
    anew = await plan(loaded, earlier=Earlier(fresh=True))

    assert (anew.settled, anew.requests) == (0, 1)


async def test_the_rest_of_a_compressed_input_is_planned_too(tmp_path: Path, server: Simulator) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(orjson.dumps(line) + b"\n" for line in texts(*"abcdef"))))
    loaded = config(tmp_path, [], KEYS, input={"path": str(path)})
    await begun(server, loaded, 4)
    left = await plan(loaded)

    assert (left.records, left.settled, left.requests) == (6, 4, 1)


async def test_a_ledger_that_cannot_be_read_is_said_and_everything_planned(tmp_path: Path, server: Simulator) -> None:
    loaded = config(tmp_path, texts("a", "b", "c"), KEYS)
    await begun(server, loaded, 2)
    (tmp_path / "out.jsonl.state" / "ledger.db").write_bytes(b"damaged")
    said: list[str] = []

    class Said:
        def see(self, event: object) -> None:
            said.append(str(event))

    assert (await plan(loaded, Said())).settled == 0
    assert "cannot be read now" in said[0]


async def test_a_sample_is_of_what_is_left(tmp_path: Path, server: Simulator) -> None:
    settled = CHUNK_LINES + 5000
    lines = texts(*("cheap" if number < settled else "dear " * (20 + number % 20) for number in range(3 * CHUNK_LINES)))
    loaded = config(tmp_path, lines, KEYS, batch={"max_items": 2048})
    await begun(server, loaded, settled)
    whole = await plan(loaded)
    sampled = await plan(loaded, sample=1000)

    assert sampled.sample is not None
    assert sampled.settled == settled
    assert sampled.sample.records[0] <= 3 * CHUNK_LINES - settled <= sampled.sample.records[1]
    assert sampled.cost_nusd == pytest.approx(whole.cost_nusd, rel=0.03)
