"""`pipeline config`: what a config says, checked."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipeline.cli.flags import config_and_flags, overrides
from pipeline.cli.load import load_config
from pipeline.cli.streams import say
from pipeline.types import Json


@click.group()
def config() -> None:
    """Show or check a config, or print its schema.

    \b
    Examples:
        pipeline config check configs/tickets.yaml
        pipeline config show configs/tickets.yaml --origin
        pipeline config schema > configs/config.schema.json
    """


@config.command()
@config_and_flags
@click.option("--origin", is_flag=True, help="Also where each value came from.")
def show(config: Path, origin: bool, **values: Json) -> None:
    """Print every value that holds for CONFIG. Keys are named, never shown.

    \b
    Examples:
        pipeline config show configs/tickets.yaml --origin
        pipeline config show configs/tickets.yaml --set params.dimensions=256
    """
    from pipeline.config import show as lines  # noqa: PLC0415 - brings pydantic

    say("\n".join(lines(load_config(config, overrides(values)), origin=origin)), err=False)


@config.command()
def schema() -> None:
    """Print the JSON schema of a config, for editors.

    Example: pipeline config schema > configs/config.schema.json
    """
    from pipeline.config import schema as json_schema  # noqa: PLC0415 - brings pydantic

    say(json.dumps(json_schema(), indent=2), err=False)


@config.command()
@config_and_flags
def check(config: Path, **values: Json) -> None:
    """Check CONFIG, its job and its endpoint, and nothing else: no input is read and no key.

    Example: pipeline config check configs/tickets.yaml
    """
    from pipeline.config import resolve_job  # noqa: PLC0415 - brings pydantic

    loaded = load_config(config, overrides(values))
    resolve_job(loaded.config.job, loaded)
    say(f"{config}: ok ({loaded.config.job} with {loaded.config.model or 'the models of its lines'})", err=False)
