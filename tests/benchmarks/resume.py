"""Resuming a long job of which almost all is done: time from process start to the first request, and memory.

The state comes from a real run against a server that refuses the key once enough records are done. Resumed runs meet
one that refuses at once, so that each finds the same state.

    python -m tests.benchmarks.resume --records 10000000 --left 1000
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from time import monotonic

import click

from tests.benchmarks.clients import environ, forget, pipeline_command
from tests.benchmarks.memory import DIMENSIONS, PACKED
from tests.benchmarks.process import Cost, measure
from tests.benchmarks.server import Server, build
from tests.benchmarks.workloads import Workload, write_config, write_input

MIB = 1 << 20
FIRST_CLAIM = 2.0
_PERSON_NEEDED = 6


@click.command(help=__doc__)
@click.option("--records", default=1_000_000, show_default=True)
@click.option("--left", default=1000, show_default=True, help="Records that are not done; a multiple of 100.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--folder", type=Path, help="Where 0.5 KB a record are free. Default: a temporary folder.")
def main(records: int, left: int, rounds: int, folder: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=folder) as name:
        place = Path(name)
        program = build(place)
        write_input(place / "in.jsonl", "embeddings", records)
        built = _run(program, place, (records - left) // PACKED)[1]
        click.echo(f"built in {built.wall:.0f} s, {built.memory / MIB:.0f} MiB")
        seen = [_run(program, place, 0) for _ in range(rounds)]
    firsts = [first for first, _ in seen]
    reached = "reached" if median(firsts) <= FIRST_CLAIM else "MISSED"
    each = " ".join(f"{first:.2f}" for first in firsts)
    click.echo(
        f"{records - left:,} of {records:,} done: first request after {median(firsts):.2f} s ({each}), "
        f"goal {FIRST_CLAIM:.1f} s: {reached}; peak {max(cost.memory for _, cost in seen) / MIB:.0f} MiB"
    )


def _run(program: Path, folder: Path, answered: int) -> tuple[float, Cost]:
    """Run against a server that answers so many requests, and return when the first arrived and the cost."""
    if answered:
        forget(folder)
    with Server(program, dims=DIMENSIONS, items=PACKED, refuse_after=answered) as server:
        workload = Workload("embeddings", 0, packed=PACKED)
        write_config(folder, server.url, workload, limits={"concurrency": 32})
        began = monotonic()
        command = pipeline_command("run", "run.yaml", "-q")
        cost = measure(command, folder, environ(folder), codes=(_PERSON_NEEDED,))
        return server.first_request() - began, cost


if __name__ == "__main__":
    main()
