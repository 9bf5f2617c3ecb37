"""`pipeline status`: how a run of this or another process stands."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import click
import orjson

from pipeline.cli.flags import again, config_and_flags, overrides
from pipeline.cli.load import load_config
from pipeline.cli.streams import say, unbroken
from pipeline.cli.summary import summary_block
from pipeline.observers.look import Seen, look
from pipeline.observers.progress import Lines, Screen
from pipeline.observers.snapshot import Snapshot
from pipeline.storage.state import Places
from pipeline.types import Json

_PERIOD = 1.0


@click.command()
@config_and_flags
@click.option("--watch", is_flag=True, help="Again each second, until the run ends; waits for one to begin.")
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
    places = places_of(load_config(config, given, looks_back=True))
    commands = {name: again(name, config, given) for name in ("run", "retry")}
    if as_json:
        with unbroken(sys.stdout):
            for seen in _watch(places) if watch else [look(places)]:
                click.echo(_json(seen))
    else:
        last = _shown(_watch(places)) if watch else look(places)
        say(_text(last, places, commands), err=False)
    return 0


def _watch(places: Places) -> Iterator[Seen]:
    """Look each second until a run is over."""
    while True:
        seen = look(places)
        yield seen
        if seen.over:
            return
        time.sleep(_PERIOD)


def _shown(looks: Iterator[Seen]) -> Seen:
    """Show a run while it is under way, as a bar where stdout is a terminal, else in lines; return the last look."""
    seen = next(looks)
    with unbroken(sys.stdout), closing(_screen()) as screen:
        while not seen.over:
            if seen.summary is not None and seen.summary["now"] is not None:
                screen.show(snapshot_of(seen.summary))
            seen = next(looks)
    return seen


def _screen() -> Screen:
    if sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from pipeline.cli.bar import Bar  # noqa: PLC0415 - rich takes a tenth of a second that only a bar is worth

        return Bar(sys.stdout)
    return Lines(sys.stdout or Path(os.devnull).open("w"))


def snapshot_of(summary: Json) -> Snapshot:
    """Return one moment of a run under way from its published status."""
    records, requests, money, here = (summary[key] for key in ("records", "requests", "money", "this_run"))
    now = summary["now"]
    return Snapshot(
        state=summary["state"],
        total=records["total"],
        fraction=now["fraction"],
        ok=records["ok"],
        failed=records["failed"],
        this_run_ok=here["records"]["ok"],
        this_run_failed=here["records"]["failed"],
        in_flight=now["in_flight"],
        throttled=requests["throttled"],
        elapsed=here["seconds"],
        tokens_per_minute=now["tokens_per_minute"],
        tpm_limit=now["tpm"],
        requests_per_minute=now["requests_per_minute"],
        rpm_limit=now["rpm"],
        spent_nusd=money["spent_nusd"],
        unknown_nusd=money["unknown_nusd"],
        reserved_nusd=money["reserved_nusd"],
        cap_nusd=money["cap_nusd"],
        paused=now["paused"],
        projected_nusd=money["projected_nusd"],
    )


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
    summary = seen.summary or {"schema_version": 1, "state": "none" if seen.holder is None else "starting"}
    return orjson.dumps({**summary, "alive": seen.holder is not None, "holder": seen.holder}).decode()
