"""`pipeline status`: how a run of this or another process stands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import orjson

from pipeline.cli.flags import again, config_and_flags, overrides
from pipeline.cli.load import load_config
from pipeline.cli.streams import say
from pipeline.cli.summary import summary_block
from pipeline.observers.look import Seen, look
from pipeline.storage.state import Places
from pipeline.types import Json

_PERIOD = 1.0


@click.command()
@config_and_flags
@click.option("--watch", is_flag=True, help="Again each second, until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="One object, or with --watch one a line.")
def status(config: Path, watch: bool, as_json: bool, **values: Json) -> int:
    """Show how far the run of CONFIG is, whoever runs it. Its exit code is 0 whether the run does well or not.

    \b
    Examples:
        pipeline status configs/tickets.yaml --watch
        pipeline status configs/tickets.yaml --json | jq .records
    """
    from pipeline.assembly import places_of  # noqa: PLC0415 - brings tokenizers and prices

    given = overrides(values)
    places = places_of(load_config(config, given))
    commands = {name: again(name, config, given) for name in ("run", "retry")}
    for seen in _watch(places) if watch else [look(places)]:
        say(_json(seen) if as_json else _text(seen, places, commands), err=False)
    return 0


def _watch(places: Places) -> Iterator[Seen]:
    seen = look(places)
    yield seen
    while seen.holder is not None:
        time.sleep(_PERIOD)
        seen = look(places)
        yield seen


def _text(seen: Seen, places: Places, commands: Mapping[str, str]) -> str:
    if seen.summary is None:
        return f"{places.output}: " + (f"starting ({seen.holder})" if seen.holder else f"no run yet: {commands['run']}")
    if seen.died:
        block = _block(seen, commands).replace("running: ", "died: ", 1)
        return f"{block}\nThe process is gone without a last word. To go on: {commands['run']}"
    return _block(seen, commands) + (f"\n  process   {seen.holder}" if seen.holder else "")


def _block(seen: Seen, commands: Mapping[str, str]) -> str:
    return summary_block(seen.summary, commands).removeprefix("pipeline: ")


def _json(seen: Seen) -> str:
    summary = seen.summary or {"schema_version": 1, "state": "none"}
    return orjson.dumps({**summary, "alive": seen.holder is not None, "holder": seen.holder}).decode()
