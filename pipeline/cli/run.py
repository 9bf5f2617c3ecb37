"""`pipeline run` and `pipeline retry`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.cli.display import Shown
from pipeline.cli.flags import again, config_and_flags, overrides
from pipeline.cli.load import load_config
from pipeline.cli.plan import show_plan
from pipeline.earlier import Earlier, Where
from pipeline.types import Json

if TYPE_CHECKING:
    from pipeline.config import Loaded

_LINES = re.compile(r"([1-9]\d{0,17})(?:-([1-9]\d{0,17}))?", re.ASCII)
_LEVELS = ("debug", "trace")
_EARLIER = ("fresh", "repair", "accept_changes", "allow_rebill")
_Function = TypeVar("_Function", bound=Callable[..., Any])
_SHOWN = (
    click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong."),
    click.option("-v", "--verbose", count=True, help="Log failures and pauses; -vv: every attempt."),
    click.option("--json", "as_json", is_flag=True, help="The summary as one object on stdout."),
    click.option("--stats", type=click.FloatRange(min=0.1), default=30, metavar="S", help="Seconds between lines."),
)


def _showing(function: _Function) -> _Function:
    """Give a command the flags that say what is shown."""
    for option in reversed(_SHOWN):
        function = option(function)
    return function


@click.command()
@config_and_flags
@click.option("--fresh", is_flag=True, help="Begin anew, and pay anew; old files are kept in the state directory.")
@click.option("--repair", is_flag=True, help="Rebuild the ledger from the output, where the two disagree.")
@click.option("--accept-changes", is_flag=True, help="Send what was edited in the input again.")
@click.option("--allow-rebill", is_flag=True, help="Send again what may have been billed twice already.")
@click.option("--yes", is_flag=True, help="Do not ask, neither before --fresh nor above budget.confirm_above.")
@click.option("-n", "--dry-run", is_flag=True, help="Send nothing: show the plan.")
@_showing
def run(config: Path, yes: bool, dry_run: bool, **values: Json) -> int:
    """Run CONFIG. The same command again carries on where it stopped.

    TIME is seconds or 30s, 15m, 2h. Ctrl-C lets what is in flight finish and commits it; a second one ends at once.

    \b
    Examples:
        pipeline run configs/tickets.yaml                  run it, or carry on
        pipeline run configs/tickets.yaml --limit 20       a sample first
        pipeline run configs/tickets.yaml --budget 5 --rpm 500
        pipeline run configs/tickets.yaml --set params.dimensions=256
    """
    earlier = Earlier(**{name: values.pop(name) for name in _EARLIER})
    given = overrides(values)
    loaded = load_config(config, _verbose(values) | given)
    if dry_run:
        return show_plan(loaded, as_json=values["as_json"], earlier=earlier, period=values["stats"])
    return _execute(loaded, _commands(config, given, loaded), values, earlier, ask=not yes)


def _where(_context: click.Context, _option: click.Parameter, texts: Sequence[str]) -> Where:
    """Return which dead letters `--where` means: `code=timeout`, `line=10-20`, `id=ticket-7`."""
    found: dict[str, list[Json]] = {"code": [], "line": [], "id": []}
    for text in texts:
        key, _, value = text.partition("=")
        lines = _LINES.fullmatch(value)
        if key not in found or not value or (key == "line" and lines is None):
            raise click.BadParameter(f"{text!r} is none of code=timeout, code=rate_*, line=17, line=10-20, id=ticket-7")
        found[key].append(range(int(lines[1]), int(lines[2] or lines[1]) + 1) if key == "line" and lines else value)
    return Where(found["code"], found["line"], found["id"])


@click.command()
@config_and_flags
@click.option(
    "--where",
    multiple=True,
    callback=_where,
    metavar="KEY=VALUE",
    help="Only those with this code, line or id; * stands for any text. Of one key one must fit, and all keys.",
)
@click.option("--yes", is_flag=True, help="Do not ask above budget.confirm_above.")
@_showing
def retry(config: Path, where: Where, yes: bool, **values: Json) -> int:
    """Send the dead letters of CONFIG's output again, and nothing else.

    \b
    Examples:
        pipeline retry configs/tickets.yaml                all of them
        pipeline retry configs/tickets.yaml --where code=timeout
        pipeline retry configs/tickets.yaml --where 'code=rate_*' --where line=1-500
        pipeline retry configs/tickets.yaml --where id=ticket-7
    """
    given = overrides(values)
    loaded = load_config(config, _verbose(values) | given, looks_back=True)
    return _execute(loaded, _commands(config, given, loaded), values, Earlier(retry=where), ask=not yes)


def _execute(
    loaded: Loaded, commands: Mapping[str, str], values: dict[str, Json], earlier: Earlier, *, ask: bool
) -> int:
    from pipeline.cli.execute import Execution, execute  # noqa: PLC0415 - brings asyncio

    return execute(Execution(loaded, _shown(values, loaded), commands, earlier, ask=ask))


def _commands(config: Path, given: dict[str, Json], loaded: Loaded) -> dict[str, str]:
    """What to type to go on, on another day too."""
    dated = given if loaded.moment is None else {**given, "now": loaded.moment}
    return {name: again(name, config, dated) for name in ("run", "retry")}


def _verbose(values: dict[str, Json]) -> dict[str, Json]:
    """What -v means for the log file: as much as for stderr."""
    verbose = values["verbose"]
    return {"log.level": _LEVELS[min(verbose, len(_LEVELS)) - 1]} if verbose else {}


def _shown(values: dict[str, Json], loaded: Loaded) -> Shown:
    return Shown(
        quiet=values["quiet"],
        verbose=values["verbose"],
        as_json=values["as_json"],
        period=values["stats"],
        style="json" if loaded.config.log.format == "json" else "text",
        streams=loaded.config.output.path == "-",
        stamped=loaded.config.log.format == "text",
    )
