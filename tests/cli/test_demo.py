from __future__ import annotations

import json
from pathlib import Path

from pipeline.cli.demo import nearest_pairs
from tests.cli.command import run


def test_the_demo_works_without_a_key_twice_and_keeps_the_first_results(tmp_path: Path) -> None:
    first = run("demo", cwd=tmp_path)
    second = run("demo", cwd=tmp_path)

    assert (first.returncode, second.returncode) == (0, 0)
    assert "pipeline: complete: 500 of 500 records have a result" in second.stderr
    assert "nearest neighbour" in second.stdout
    lines = (tmp_path / "out" / "demo.jsonl").read_bytes().splitlines()
    assert len({json.loads(line)["custom_id"] for line in lines}) == 500
    assert len(list((tmp_path / "out" / "demo.jsonl.state").glob("old-demo.jsonl-*"))) == 1
    assert not (tmp_path / "state").exists(), "what was not real money is in the usage log"


def test_a_pair_counts_where_the_second_is_the_nearest_to_the_first() -> None:
    results = [
        {"custom_id": "a", "embedding": [1.0, 0.0]},
        {"custom_id": "b", "embedding": [0.9, 0.1]},
        {"custom_id": "c", "embedding": [0.0, 1.0]},
    ]

    assert nearest_pairs(results, [("a", "b"), ("b", "a"), ("c", "a")]) == 2
