"""Peak memory of a whole run by the number of its records, in input order and in order of arrival.

Vectors are small and packed by 100, so that ten million records take minutes and not hours.

    python -m tests.benchmarks.memory --records 10000 --records 1000000 --records 10000000
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from tests.benchmarks.clients import environ, forget, pipeline_command
from tests.benchmarks.process import Cost, measure
from tests.benchmarks.server import Server, build
from tests.benchmarks.workloads import Workload, write_config, write_input

MIB = 1 << 20
GROWTH_CLAIM, MOST_CLAIM = 30 * MIB, 150_000_000
PACKED, DIMENSIONS = 100, 4


@click.command(help=__doc__)
@click.option("--records", "sizes", multiple=True, type=int, default=(10_000, 1_000_000), show_default=True)
@click.option("--order", "orders", multiple=True, type=click.Choice(["input", "done"]), default=("input", "done"))
@click.option("--folder", type=Path, help="Where 0.5 KB a record are free. Default: a temporary folder.")
def main(sizes: tuple[int, ...], orders: tuple[str, ...], folder: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=folder) as name:
        place = Path(name)
        program = build(place)
        for order in orders:
            peaks = [_peak(program, place, records, order) for records in sorted(sizes)]
            growth, most = peaks[-1] - peaks[0], peaks[-1]
            reached = "reached" if growth <= GROWTH_CLAIM and most <= MOST_CLAIM else "MISSED"
            click.echo(f"order {order}: grows by {growth / MIB:.0f} MiB to {most / MIB:.0f} MiB: {reached}")


def _peak(program: Path, folder: Path, records: int, order: str) -> int:
    write_input(folder / "in.jsonl", "embeddings", records)
    cost = run(program, folder, order)
    click.echo(
        f"order {order:<6} {records:>12,} records: peak {cost.memory / MIB:6.1f} MiB, "
        f"{cost.cpu / records * 1e6:6.1f} us of CPU a record, {cost.wall:.0f} s"
    )
    return cost.memory


def run(program: Path, folder: Path, order: str) -> Cost:
    """Run the input of `folder` from nothing to its end."""
    forget(folder)
    with Server(program, dims=DIMENSIONS, items=PACKED) as server:
        workload = Workload("embeddings", 0, packed=PACKED)
        write_config(folder, server.url, workload, output={"order": order}, limits={"concurrency": 32})
        return measure(pipeline_command("run", "run.yaml", "-q"), folder, environ(folder))


if __name__ == "__main__":
    main()
