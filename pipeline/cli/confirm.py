"""Asks before money is spent that nobody may have meant to spend."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from pipeline.cli.display import on_terminal
from pipeline.cli.plan import plan_of
from pipeline.errors import UsageError
from pipeline.observers.progress import money

if TYPE_CHECKING:
    from pipeline.config import Loaded


def confirm(loaded: Loaded, *, fresh: bool) -> None:
    """Ask what has to be asked.

    Raises:
        UsageError: The run may cost more than `budget.confirm_above`, and nobody can be asked.
        click.Abort: The answer was no.
    """
    output = loaded.config.output.path
    if fresh and os.path.lexists(output) and _somebody_is_there():
        question = f"Begin {output} anew, and pay for it anew? The old files are kept in the state directory."
        click.confirm(question, abort=True, err=True)
    above = loaded.config.budget.confirm_above_nusd
    if above is not None:
        _confirm_cost(loaded, above)


def _confirm_cost(loaded: Loaded, above: int) -> None:
    try:
        most = None if loaded.config.input.path == "-" else plan_of(loaded).cost_bound_nusd
    except UsageError as error:
        from pipeline.sources import is_nothing_to_do  # noqa: PLC0415 - as planning does, brings tokenizers and prices

        if is_nothing_to_do(error, loaded.config):
            return
        raise
    if most is not None and most <= above:
        return
    cost = "an unknown sum" if most is None else f"up to {money(most)}"
    if not _somebody_is_there():
        raise UsageError(f"the whole input may cost {cost}, which is above budget.confirm_above: add --yes to run it")
    click.confirm(f"The whole input may cost {cost}. Run it?", abort=True, err=True)


def _somebody_is_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and on_terminal()
