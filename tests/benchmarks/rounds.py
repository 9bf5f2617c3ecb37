"""Paired rounds: in each, every client runs once, and is compared with the baseline of the same round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import click

from tests.benchmarks.process import Cost, FailedError

Client = Callable[[], Cost]


class Row(NamedTuple):
    """One client over all rounds."""

    name: str
    costs: list[Cost]
    ratios: list[float]
    """CPU over that of the baseline, by round."""
    problem: str = ""
    """Why it could not be run."""


def paired(clients: Mapping[str, Client], rounds: int) -> list[Row]:
    """Run all clients `rounds` times; the first is the baseline. One that fails is left out from then on.

    The order is turned from round to round, so that no client always follows the same one.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in clients}
    problems: dict[str, str] = {}
    for number in range(rounds):
        names = [name for name in clients if name not in problems]
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            try:
                costs[name].append(clients[name]())
            except FailedError as error:
                problems[name] = str(error)
            click.echo(f"  round {number + 1} of {rounds}: {name}", err=True)
    base = costs[next(iter(clients))]
    return [
        Row(
            name,
            costs[name],
            [each.cpu / first.cpu for each, first in zip(costs[name], base, strict=False)],
            problems.get(name, ""),
        )
        for name in clients
    ]


def noise(costs: Sequence[Cost]) -> float:
    """Return how far the same work differs from round to round: the range of its CPU over the median."""
    seconds = [cost.cpu for cost in costs]
    return (max(seconds) - min(seconds)) / median(seconds)


def show(title: str, rows: Sequence[Row], records: int, claims: Mapping[str, float]) -> None:
    """Print one table; `claims` are the highest ratios that clients may have."""
    click.echo(f"\n{title}: {records:,} records, {len(rows[0].costs)} rounds")
    click.echo(f"{'what':<28}{'CPU s':>8}{'wall s':>8}{'us/record':>11}{'ratio':>8}  ratio of each pair")
    for row in rows:
        if row.problem or not row.costs:
            click.echo(f"{row.name:<28}  skipped: {' '.join(row.problem.split())[:200]}")
            continue
        cpu, wall = (median([cost[field] for cost in row.costs]) for field in (0, 1))
        pairs = " ".join(f"{ratio:.2f}" for ratio in row.ratios)
        click.echo(
            f"{row.name:<28}{cpu:>8.2f}{wall:>8.2f}{cpu / records * 1e6:>11.1f}{median(row.ratios):>8.2f}  {pairs}"
        )
    for row in rows:
        if row.name in claims and not row.problem:
            reached = "reached" if median(row.ratios) <= claims[row.name] else "MISSED"
            click.echo(f"goal: {row.name} at most {claims[row.name]:.2f} x {rows[0].name}: {reached}")
    if rows[0].costs:
        click.echo(f"noise: {rows[0].name} alone varies by {noise(rows[0].costs):.0%} from round to round")
