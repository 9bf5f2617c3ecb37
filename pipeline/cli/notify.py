"""`pipeline notify`: whether everybody can be told, before a night in which nobody watches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.flags import config_and_flags, overrides
from pipeline.cli.load import load_config
from pipeline.cli.streams import say
from pipeline.errors import UsageError
from pipeline.loop import run_loop
from pipeline.types import Json

if TYPE_CHECKING:
    from pipeline.notifying import Tried

_NEEDS_PERSON = 6
_UNAVAILABLE = 7


@click.command()
@config_and_flags
def notify(config: Path, **values: Json) -> int:
    """Send a test to everybody whom CONFIG tells how its run goes, and say what came back. Runs nothing.

    A heartbeat is pinged as by a run that went well. Exit code 0: all were told; 6: somebody was not, and a person
    must see to it; 7: somebody was not, and may be later.

    Example: pipeline notify configs/tickets.yaml
    """
    loaded = load_config(config, overrides(values))
    from pipeline.notifying import try_out  # noqa: PLC0415 - brings the parts of a run, which --help need not wait for

    tried = run_loop(try_out(loaded))
    if not tried:
        raise UsageError(f"{config}: nobody is to be told: give it a notify or a heartbeat")
    say("\n".join(map(_line, tried)), err=False)
    say(f"a run tells of {', '.join(loaded.config.notify.on) or 'nothing'}; a heartbeat of every run", err=False)
    return _exit_code(tried)


def _line(tried: Tried) -> str:
    became = "delivered" if tried.failure is None else f"not delivered: {tried.failure}"
    return f"{tried.place}: {became} ({tried.seconds:.2f} s)"


def _exit_code(tried: Sequence[Tried]) -> int:
    failures = [each.failure for each in tried if each.failure is not None]
    if not failures:
        return 0
    return _UNAVAILABLE if all(failure.again for failure in failures) else _NEEDS_PERSON
