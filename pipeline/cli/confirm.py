"""Asks before money is spent that nobody may have meant to spend."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from pipeline.cli.display import on_terminal
from pipeline.cli.plan import plan_of
from pipeline.cli.streams import say
from pipeline.earlier import Earlier
from pipeline.errors import UsageError
from pipeline.observers.progress import money

if TYPE_CHECKING:
    from pipeline.config import Loaded
    from pipeline.planning import Plan

_READ_WHOLE = 64 * 1024 * 1024
"""Bytes of an input beyond which it is not read whole before each run: this many take some four seconds."""
_SAMPLE = 2000


def confirm(loaded: Loaded, earlier: Earlier) -> None:
    """Ask what has to be asked.

    Raises:
        UsageError: The run may cost more than `budget.confirm_above`, and nobody can be asked.
        click.Abort: The answer was no.
    """
    output = loaded.config.output.path
    if earlier.fresh and os.path.lexists(output) and _somebody_is_there():
        question = f"Begin {output} anew, and pay for it anew? The old files are kept in the state directory."
        click.confirm(question, abort=True, err=True)
    above = loaded.config.budget.confirm_above_nusd
    if above is not None:
        _confirm_cost(loaded, earlier, above)


def _confirm_cost(loaded: Loaded, earlier: Earlier, above: int) -> None:
    cap = loaded.config.budget.hard_nusd
    if cap is not None and cap <= above:
        return  # no run of this output can cost as much
    try:
        most = _most(loaded, earlier)
    except UsageError as error:
        from pipeline.sources import is_nothing_to_do  # noqa: PLC0415 - as in _most

        if is_nothing_to_do(error, loaded.config):
            return
        raise
    if most is not None and most <= above:
        return
    cost = "an unknown sum" if most is None else f"up to {money(most)}"
    if cap is not None and (most is None or most > cap):
        cost += f", of which the budget allows {money(cap)}"
    if not _somebody_is_there():
        raise UsageError(f"what is left may cost {cost}, which is above budget.confirm_above: add --yes to run it")
    click.confirm(f"What is left may cost {cost}. Run it?", abort=True, err=True)


def _most(loaded: Loaded, earlier: Earlier) -> int | None:
    """The most that what is left can cost; None where nobody knows."""
    from pipeline.sources import open_source  # noqa: PLC0415 - with what it imports, as much as all of --help takes

    with open_source(loaded, earlier) as source:
        if source.size is None:
            return None  # a pipe: what is read of it is gone
        huge = source.size > _READ_WHOLE and loaded.config.limit is None
        if huge and source.plain_size is None:
            return None  # compressed, or several: there is no way to its middle but through all of it
    # What was edited in the input is sent again, and nobody has looked yet what that is: all of it may be.
    anew = earlier._replace(fresh=earlier.fresh or earlier.accept_changes)
    made = plan_of(loaded, sample=_SAMPLE if huge else None, earlier=anew)
    if made.sample is not None:
        say(_estimated(made))
    return made.cost_bound_nusd


def _estimated(made: Plan) -> str:
    drawn = 0 if made.sample is None else made.sample.drawn
    return (
        f"pipeline: the cost is estimated from {drawn:,} of about {made.records - made.settled:,} records that are left"
    )


def _somebody_is_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and on_terminal()
