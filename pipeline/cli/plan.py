"""`pipeline plan`: what a run would send and cost."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.flags import config_and_flags, overrides
from pipeline.cli.load import load_config
from pipeline.cli.reading import Reading
from pipeline.cli.streams import say
from pipeline.earlier import CARRY_ON, Earlier
from pipeline.events import Observers
from pipeline.loop import run_loop
from pipeline.observers.log import Log
from pipeline.types import Json

if TYPE_CHECKING:
    from pipeline.config import Loaded
    from pipeline.planning import Plan

PERIOD = 30.0
"""Seconds between two lines of progress, where there is no bar."""


@click.command()
@config_and_flags
@click.option(
    "--sample",
    type=click.IntRange(min=100),
    metavar="N",
    help="Read N records, spread evenly over the file, and estimate the rest.",
)
@click.option("--stats", type=click.FloatRange(min=0.1), default=PERIOD, metavar="S", help="Seconds between lines.")
@click.option("--json", "as_json", is_flag=True, help="One object.")
def plan(config: Path, sample: int | None, stats: float, as_json: bool, **values: Json) -> int:
    """Show the records, tokens, requests, time and cost of running CONFIG. Sends nothing.

    What earlier runs of the output have settled is left out: the plan is of what a run would do now.

    Example: pipeline plan configs/tickets.yaml --sample 1000
    """
    return show_plan(load_config(config, overrides(values)), as_json=as_json, sample=sample, period=stats)


def show_plan(
    loaded: Loaded, *, as_json: bool, sample: int | None = None, earlier: Earlier = CARRY_ON, period: float = PERIOD
) -> int:
    """Print the plan on stdout. The arguments are those of `plan_of`."""
    from pipeline.cli.plan_block import plan_block  # noqa: PLC0415 - `run` need not wait for it

    made = plan_of(loaded, sample=sample, earlier=earlier, period=period)
    say(json.dumps(made.as_dict()) if as_json else plan_block(made), err=False)
    return 0


def plan_of(loaded: Loaded, *, sample: int | None = None, earlier: Earlier = CARRY_ON, period: float = PERIOD) -> Plan:
    """Return the plan of a config; notices and progress go to stderr.

    Args:
        loaded: The config.
        sample: How many lines are read; None for all.
        earlier: Whether the run would begin anew, or send dead letters again.
        period: Seconds between two lines of progress, where there is no bar.
    """
    # Planning brings tokenizers, prices and more, which --help need not wait for.
    from pipeline.planning import plan as make_plan  # noqa: PLC0415

    observers = Observers([Log(say, lambda: datetime.now(UTC), stamped=False)])
    with Reading(period) as reading:
        return run_loop(make_plan(loaded, observers, reading.see, sample=sample, earlier=earlier))
