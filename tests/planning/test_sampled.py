"""Plans from a sample, whose intervals must hold what reading everything finds."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from pipeline.config import Loaded
from pipeline.errors import UsageError
from pipeline.planning import Plan, plan
from pipeline.types import Json
from tests.planning.inputs import CHAT, EMBEDDINGS, config, texts

WORDS = [
    "parcel",
    "late",
    "again",
    "account",
    "needle",
    "orange",
    "quarterly",
    "shipment",
    "délai",
    "注文",
    "of",
    "the",
]
SHAPES: dict[str, Callable[[random.Random, float], int]] = {
    "log-normal": lambda r, _: min(8000, int(r.lognormvariate(3, 1)) + 1),
    "one giant in two hundred": lambda r, _: r.randint(2000, 6000) if r.random() < 0.005 else r.randint(2, 10),
    "sorted": lambda _, place: 1 + int(200 * place),
    "Pareto": lambda r, _: min(8000, int(5 * r.paretovariate(1.2))),
    "short ones, then long ones": lambda r, place: r.randint(2, 5) if place < 0.7 else r.randint(200, 400),
}
"""(randomness, place in the file from 0 to 1) → words."""


def skewed(shape: str, seed: int, count: int) -> list[Json | bytes]:
    generator = random.Random(seed)
    text = " ".join(generator.choices(WORDS, k=8100))
    starts = [at + 1 for at, character in enumerate(text) if character == " "]
    lines: list[Json | bytes] = []
    for number in range(count):
        words = SHAPES[shape](generator, number / count)
        first = generator.randrange(max(1, len(starts) - words))
        lines.append({"text": text[starts[first] : starts[min(first + words, len(starts) - 1)]]})
        if number % 50 == 0:
            lines.append({"other": 1})
    return lines


def truth_is_held(whole: Plan, sampled: Plan) -> dict[str, bool]:
    sample = sampled.sample
    assert sample is not None
    assert sample.cost_nusd is not None
    assert sampled.cost_least_nusd is not None
    assert sampled.cost_bound_nusd is not None
    assert whole.cost_nusd is not None
    assert whole.cost_least_nusd is not None
    assert whole.cost_bound_nusd is not None
    return {
        "records": sample.records[0] <= whole.records <= sample.records[1],
        "tokens": sample.tokens_input[0] <= whole.tokens_input <= sample.tokens_input[1],
        "cost": sample.cost_nusd[0] <= whole.cost_nusd <= sample.cost_nusd[1],
        "least": sampled.cost_least_nusd <= whole.cost_least_nusd,
        "most": whole.cost_bound_nusd <= sampled.cost_bound_nusd,
    }


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_intervals_of_a_sample_hold_what_reading_everything_finds(tmp_path: Path, shape: str) -> None:
    loaded = config(tmp_path, skewed(shape, 1, 12_000), CHAT)
    whole, sampled = await plan(loaded), await plan(loaded, sample=400)
    held = truth_is_held(whole, sampled)
    interval = sampled.sample and sampled.sample.cost_nusd
    print(f"\n{shape}: the input costs {whole.cost_nusd}, by the sample {sampled.cost_nusd} in {interval}")

    assert all(held.values()), held
    assert sampled.requests == pytest.approx(whole.requests, rel=0.1)


async def test_requests_bound_by_tokens_are_estimated_by_packing(tmp_path: Path) -> None:
    lines = skewed("log-normal", 2, 12_000)
    loaded = config(tmp_path, lines, EMBEDDINGS, batch={"max_items": 100, "max_tokens": 2000})
    whole, sampled = await plan(loaded), await plan(loaded, sample=400)

    assert sampled.requests == pytest.approx(whole.requests, rel=0.15)


async def test_the_same_file_has_the_same_sample(tmp_path: Path) -> None:
    loaded = config(tmp_path, skewed("log-normal", 3, 5000), EMBEDDINGS)

    assert await plan(loaded, sample=200) == await plan(loaded, sample=200)


async def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("a", "b"), EMBEDDINGS), sample=1000)

    assert (found.records, found.sample) == (2, None)


async def test_a_compressed_file_and_the_first_lines_of_one_cannot_be_sampled(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n'))
    compressed = config(tmp_path, texts("a"), EMBEDDINGS, input={"path": str(path)})
    with pytest.raises(UsageError, match="--sample needs a plain file"):
        await plan(compressed, sample=100)
    with pytest.raises(UsageError, match="--sample needs a plain file"):
        await plan(config(tmp_path, texts("a"), EMBEDDINGS, limit=1), sample=100)


async def test_bad_records_of_a_sample_are_named_by_where_they_are(tmp_path: Path) -> None:
    lines = [line for number in range(3000) for line in ({"text": "good " * 20}, b"{" * 100 if number % 2 else b"{}")]
    found = await plan(config(tmp_path, lines, EMBEDDINGS), sample=200)

    assert set(found.bad) == {"invalid_json", "template"}
    at = int(found.bad_examples["invalid_json"][0].split(" at byte ")[1].replace(",", ""))
    assert (tmp_path / "in.jsonl").read_bytes()[at:].startswith(b"{{{")
    assert found.bad["invalid_json"] == pytest.approx(1500, rel=0.3)


def a_million(path: Path) -> int:
    """Write a million records, of which a few are fifty times as long, and return the tokens of all."""
    line = orjson.dumps({"text": "the parcel came late again"}) + b"\n"
    long = orjson.dumps({"text": "the parcel came late again " * 50}) + b"\n"
    block = line * 700 + long * 3 + line * 297
    with path.open("wb") as file:
        for _ in range(1000):
            file.write(block)
    return 1000 * (997 * 5 + 3 * 251)


async def test_a_thousand_of_a_million_records_take_a_few_seconds_and_hold_the_truth(tmp_path: Path) -> None:
    loaded: Loaded = config(tmp_path, [], EMBEDDINGS)
    tokens = a_million(tmp_path / "in.jsonl")
    began = time.perf_counter()
    found = await plan(loaded, sample=1000)
    seconds = time.perf_counter() - began
    assert found.sample is not None
    print(
        f"\n{found.records:,} records, {found.tokens_input:,} tokens of {tokens:,} in {seconds:.2f} s: {found.sample}"
    )

    assert found.sample.records[0] <= 1_000_000 <= found.sample.records[1]
    assert found.sample.tokens_input[0] <= tokens <= found.sample.tokens_input[1]
    assert found.cost_least_nusd is not None
    assert found.cost_bound_nusd is not None
    assert found.cost_least_nusd <= tokens * 20 <= found.cost_bound_nusd
    assert seconds < 5
