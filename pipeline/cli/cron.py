"""`pipeline cron`: prints how a scheduler would run a config; installs nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.flags import overrides
from pipeline.cli.load import load_config
from pipeline.cli.streams import say
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.cli.scheduled import Scheduled
    from pipeline.core.schedule import Schedule

_UNATTENDED = {"fresh": "--fresh", "dry_run": "-n"}
"""Flags of `run` that would do harm, or nothing, night after night."""


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="[-- FLAGS OF RUN]")
@click.option("--at", required=True, metavar="TIME", help="02:30, '*/15 * * * *', or @daily.")
@click.option("--log", type=click.Path(path_type=Path), help="Where a crontab line sends what a run says.")
@click.option("--systemd", "style", flag_value="systemd", help="A service and a timer instead.")
@click.option("--k8s", "style", flag_value="k8s", help="A Kubernetes CronJob instead; takes --image.")
@click.option("--image", metavar="NAME", help="The container image of --k8s, with pipeline in it.")
def cron(config: Path, flags: tuple[str, ...], at: str, log: Path | None, style: str | None, image: str | None) -> None:
    """Print a crontab line that runs CONFIG, with absolute paths, and when it comes next. Installs nothing.

    A run that finds another one at work exits with 75. cron sets no environment: keep the key in a .env file beside
    the config, or name a file in endpoints.yaml (api_key: file:PATH). Flags of `pipeline run` follow after --.

    Example: pipeline cron configs/tickets.yaml --at 02:30 -- --budget 5   # for crontab -e
    """
    job = _scheduled(config, flags, _schedule(at))
    if style == "systemd":
        from pipeline.cli.systemd import systemd  # noqa: PLC0415 - one of three

        say(systemd(job), err=False)
    elif style == "k8s":
        from pipeline.cli.kubernetes import kubernetes  # noqa: PLC0415 - one of three

        if image is None:
            raise click.UsageError("--k8s takes --image, the name of an image with pipeline in it")
        say(kubernetes(job, image), err=False)
    else:
        from pipeline.cli.crontab import crontab  # noqa: PLC0415 - one of three

        say(crontab(job, (log or Path(f"{job.name}.log")).absolute()), err=False)


def _schedule(text: str) -> Schedule:
    from pipeline.core.schedule import parse_schedule  # noqa: PLC0415 - cronsim, which --help need not wait for

    try:
        return parse_schedule(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from None


def _scheduled(config: Path, flags: tuple[str, ...], schedule: Schedule) -> Scheduled:
    """Check the config and the flags as the run itself would, so that no night is lost to a misspelt key."""
    from pipeline.cli.run import run  # noqa: PLC0415 - brings the display, which --help need not wait for
    from pipeline.cli.scheduled import Scheduled, local_zone  # noqa: PLC0415 - same

    given = run.make_context("pipeline cron … --", [str(config), *flags]).params
    wrong = [name for key, name in _UNATTENDED.items() if given[key]]
    if wrong:
        raise click.UsageError(f"{wrong[0]} is not for a scheduler: it would do the same again, every time")
    config = config.absolute()
    loaded = load_config(config, overrides(given))
    if "-" in {loaded.config.input.path, loaded.config.output.path}:
        raise UsageError("a scheduler has no standard input and nobody who reads stdout: name files in the config")
    zone = local_zone()
    return Scheduled(config, loaded, flags, schedule, zone, datetime.now(UTC).astimezone(zone.info), Path.cwd())
