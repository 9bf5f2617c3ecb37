"""`pipeline plan`: what a run would send and cost."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.flags import config_and_flags, overrides
from pipeline.cli.load import load_config
from pipeline.cli.streams import say
from pipeline.events import Observers
from pipeline.loop import run_loop
from pipeline.observers.log import Log
from pipeline.observers.progress import duration, money, short
from pipeline.types import Json

if TYPE_CHECKING:
    from pipeline.config import Loaded
    from pipeline.planning import Plan


@click.command()
@config_and_flags
@click.option("--json", "as_json", is_flag=True, help="One object.")
def plan(config: Path, as_json: bool, **values: Json) -> int:
    """Show the records, tokens, requests, time and cost of running CONFIG. Sends nothing.

    Example: pipeline plan configs/tickets.yaml --rpm 500
    """
    return show_plan(load_config(config, overrides(values)), as_json=as_json)


def show_plan(loaded: Loaded, *, as_json: bool) -> int:
    """Print the plan on stdout."""
    made = plan_of(loaded)
    say(json.dumps(made.as_dict()) if as_json else plan_block(made), err=False)
    return 0


def plan_of(loaded: Loaded) -> Plan:
    """Return the plan of a config; notices go to stderr."""
    # Planning brings tokenizers, prices and more, which --help need not wait for.
    from pipeline.planning import plan as make_plan  # noqa: PLC0415

    return run_loop(make_plan(loaded, Observers([Log(say, lambda: datetime.now(UTC), stamped=False)])))


def plan_block(made: Plan) -> str:
    """Return a plan for people."""
    rows = {
        "records": _records(made),
        "requests": f"{made.requests:,}",
        "tokens": _tokens(made),
        "time": _time(made),
        "cost": _cost(made),
    }
    lines = [f"  {name:<9} {text}" for name, text in rows.items()]
    return "\n".join([f"{made.name}: {made.model}; nothing was sent", *lines])


def _records(made: Plan) -> str:
    bad = ", ".join(f"{code}: {count:,}" for code, count in sorted(made.bad.items()))
    return f"{made.records:,}" + (f", of which dead letters from the start: {bad}" if bad else "")


def _tokens(made: Plan) -> str:
    about = "" if made.exact else "about "
    if made.tokens_output_bound is None:
        return f"{about}{short(made.tokens_input)} in, and nothing bounds the output (set max_output_tokens)"
    most = f", at most {short(made.tokens_output_bound)} out" if made.tokens_output_bound else ""
    return f"{about}{short(made.tokens_input)} in{most}"


def _time(made: Plan) -> str:
    if not made.seconds:
        return "not bound by a known limit, but by the endpoint and `concurrency`"
    return f"at least {duration(made.seconds)}, bound by the limit of {made.bound_by}"


def _cost(made: Plan) -> str:
    if made.cost_nusd is None:
        return "unknown: no price is known for this model"
    source = f" ({made.price_source})" if made.price_source else ""
    if made.cost_bound_nusd is None:
        return f"at least {money(made.cost_nusd)}, without any output{source}"
    if made.cost_bound_nusd == made.cost_nusd:
        return f"{money(made.cost_nusd)}{source}"
    return f"{money(made.cost_nusd)} for the input, at most {money(made.cost_bound_nusd)} with all output{source}"
