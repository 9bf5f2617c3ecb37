"""Time of `pipeline --help`, and from process start to the first request of a small job.

python -m tests.benchmarks.startup --rounds 9
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from time import monotonic

import click

from tests.benchmarks.clients import environ, forget, pipeline_command
from tests.benchmarks.process import measure
from tests.benchmarks.server import Server, build
from tests.benchmarks.workloads import Workload, write_config, write_input

HELP_CLAIM, FIRST_CLAIM = 0.25, 0.6


@click.command(help=__doc__)
@click.option("--rounds", default=9, show_default=True)
def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        program = build(folder)
        write_input(folder / "in.jsonl", "chat", 10)
        helps = [measure(pipeline_command("--help"), folder, environ(folder)).wall for _ in range(rounds)]
        firsts = [first_request(program, folder) for _ in range(rounds)]
    _show("--help", helps, HELP_CLAIM)
    _show("first request of ten chat rows", firsts, FIRST_CLAIM)


def first_request(program: Path, folder: Path) -> float:
    """Return the seconds from the start of a new run in `folder` to the arrival of its first request."""
    forget(folder)
    with Server(program) as server:
        write_config(folder, server.url, Workload("chat", 10))
        began = monotonic()
        measure(pipeline_command("run", "run.yaml", "-q"), folder, environ(folder))
        return server.first_request() - began


def _show(what: str, seconds: list[float], claim: float) -> None:
    reached = "reached" if median(seconds) <= claim else "MISSED"
    each = " ".join(f"{second:.2f}" for second in seconds)
    click.echo(f"{what:<32} median {median(seconds):.3f} s  goal {claim:.2f} s: {reached}  ({each})")


if __name__ == "__main__":
    main()
