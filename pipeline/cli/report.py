"""`pipeline report`: one static page about the last run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.flags import again, config_and_places, overrides
from pipeline.cli.load import load_config
from pipeline.cli.plan import plan_of
from pipeline.cli.streams import say
from pipeline.earlier import Earlier
from pipeline.errors import PipelineError, StorageFailed, UsageError
from pipeline.loop import run_loop
from pipeline.types import Json

if TYPE_CHECKING:
    from pipeline.config import Loaded
    from pipeline.report import Estimate

_PLANNED_UNASKED = 8 * 1024 * 1024
"""Bytes of an input that takes no more than a second or two to plan."""
_FIRST = b"<!doctype html>"
_NEXT = ("run", "retry", "status", "check")


@click.command()
@config_and_places
@click.option(
    "-o",
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Default: beside the output, OUT.report.html.",
)
@click.option("--samples/--no-samples", default=True, show_default=True, help="A few records with their answers.")
@click.option(
    "--estimate/--no-estimate", default=None, help="Plan the whole input to compare; unasked where it is small."
)
def report(config: Path, target: Path | None, samples: bool, estimate: bool | None, **values: Json) -> None:
    """Write one static HTML page about the last run of CONFIG, whether it is under way, killed, refused or complete.

    Example: pipeline report configs/tickets.yaml
    """
    # It brings templates, and the places of a config tokenizers and prices: nothing that --help need wait for.
    from pipeline.assembly import places_of  # noqa: PLC0415
    from pipeline.report import Asked, gather_facts, page, read_samples  # noqa: PLC0415
    from pipeline.storage.state import replace_durably  # noqa: PLC0415

    given = overrides(values)
    loaded = load_config(config, given, looks_back=True)
    places = places_of(loaded)
    facts = gather_facts(places)
    asked = Asked(
        commands={name: again(name, config, given) for name in _NEXT},
        samples=run_loop(read_samples(places, loaded.config.input.path)) if samples else (),
        estimate=_estimate(loaded, estimate),
    )
    target = target or places.output.with_name(f"{places.output.name}.report.html")
    _refuse_what_is_no_page(target)
    try:
        replace_durably(target, page(facts, asked).encode())
    except StorageFailed as error:
        raise UsageError(f"cannot write {target}; choose another place with -o") from error
    say(str(target), err=False)


def _refuse_what_is_no_page(target: Path) -> None:
    """A report may replace an older one, and nothing else: an output that is named by mistake is lost in an instant.

    Raises:
        UsageError: There is something else.
    """
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_file() or not _begins_as_a_page(target):
        raise UsageError(f"{target} is in the way, and no report: choose another place with -o")


def _begins_as_a_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_FIRST)) == _FIRST


def _estimate(loaded: Loaded, wanted: bool | None) -> Estimate | None:
    """Return what the plan of the whole input says it costs; None where nobody knows, or wants to wait for it."""
    from pipeline.report import Estimate  # noqa: PLC0415 - as above

    path = Path(loaded.config.input.path)
    if wanted is None:
        wanted = path.is_file() and path.stat().st_size <= _PLANNED_UNASKED
    try:
        plan = plan_of(loaded, earlier=Earlier(fresh=True)) if wanted else None
    except PipelineError:
        return None  # the input may be gone, or no longer as it was
    return Estimate(plan.cost_nusd, plan.cost_bound_nusd) if plan is not None and plan.cost_nusd else None
