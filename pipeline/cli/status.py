"""`pipeline status`: how a run of this or another process stands."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
import orjson

from pipeline.cli.flags import again, config_and_flags, overrides
from pipeline.cli.load import load_config
from pipeline.cli.streams import say, unbroken
from pipeline.cli.summary import summary_block
from pipeline.errors import StateMismatch
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

    Example: pipeline status configs/tickets.yaml --watch
    """
    from pipeline.assembly import places_of  # noqa: PLC0415 - brings tokenizers and prices

    given = overrides(values)
    places = places_of(load_config(config, given))
    commands = {name: again(name, config, given) for name in ("run", "retry")}
    if as_json:
        with unbroken(sys.stdout):
            for seen in _watch(places) if watch else [look(places)]:
                click.echo(_json(seen))
    else:
        last = _shown(_watch(places)) if watch else look(places)
        say(_text(last, places, commands), err=False)
    return 0


class Seen(NamedTuple):
    """One look at a run."""

    summary: Json
    """As in `status.json`; None where no run has begun."""
    holder: str | None
    """Who holds the lock: `pid N since T`; None where nobody runs."""

    @property
    def died(self) -> bool:
        """Whether the run ended without a last word."""
        return self.summary is not None and self.summary["state"] == "running" and self.holder is None

    @property
    def over(self) -> bool:
        """Whether there was a run, and is none."""
        return self.summary is not None and self.holder is None


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
            if seen.summary is not None:
                screen.show(snapshot_of(seen.summary))
            seen = next(looks)
    return seen


def _screen() -> Screen:
    if sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from pipeline.cli.bar import Bar  # noqa: PLC0415 - rich takes a tenth of a second that only a bar is worth

        return Bar(sys.stdout)
    return Lines(sys.stdout or Path(os.devnull).open("w"))


def snapshot_of(summary: Json) -> Snapshot:
    """Return one moment of a run from its published status. Rates and what is in flight are averages of the run."""
    records, requests, money, here = (summary[key] for key in ("records", "requests", "money", "this_run"))
    pace = summary["pace"] or {"in_flight": 0, "requests_per_minute": 0.0, "tokens_per_minute": 0.0}
    return Snapshot(
        state=summary["state"],
        total=records["total"],
        fraction=None,
        ok=records["ok"],
        failed=records["failed"],
        this_run_ok=here["records"]["ok"],
        this_run_failed=here["records"]["failed"],
        in_flight=round(pace["in_flight"]),
        throttled=requests["throttled"],
        elapsed=here["seconds"],
        tokens_per_minute=pace["tokens_per_minute"],
        tpm_limit=None,
        requests_per_minute=pace["requests_per_minute"],
        rpm_limit=None,
        spent_nusd=money["spent_nusd"],
        unknown_nusd=money["unknown_nusd"],
        reserved_nusd=money["reserved_nusd"],
        cap_nusd=money["cap_nusd"],
        paused=None,
    )


def look(places: Places) -> Seen:
    """Return what is known of the run of an output.

    Raises:
        StateMismatch: The status file is none.
    """
    summary = _read(places)
    if _is_last(summary, places.lock):
        # It is over; its lock is left alone, so that the next run is not kept from it even for a moment.
        return Seen(summary, None)
    holder = lock_holder(places.lock)
    summary = _read(places)  # what ended in between has said so by now
    # What an earlier run said last is not how the next one stands, which says so when it begins to send.
    starting = holder is not None and summary is not None and summary["state"] != "running"
    return Seen(None if starting and not _is_last(summary, places.lock) else summary, holder)


def _is_last(summary: Json, lock: Path) -> bool:
    """Whether a run has ended and no other has taken the lock since."""
    if summary is None or summary["state"] == "running":
        return False
    try:
        taken = lock.stat().st_mtime
    except OSError:
        return True
    return taken <= datetime.fromisoformat(summary["ended_at"]).timestamp()


def _read(places: Places) -> Json:
    try:
        return orjson.loads(places.status.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        raise StateMismatch(f"{places.status} cannot be read: it is no status file of pipeline") from error


def lock_holder(path: Path) -> str | None:
    """Return who holds a lock, or None where nobody does. Tries it, shared, for no longer than the look."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 200, 0).decode("ascii", "replace").strip() or "a process that is just starting"
    else:
        return None
    finally:
        os.close(descriptor)


def _text(seen: Seen, places: Places, commands: Mapping[str, str]) -> str:
    if seen.summary is None:
        return f"{places.output}: " + (f"starting ({seen.holder})" if seen.holder else f"no run yet: {commands['run']}")
    if seen.died:
        return f"{_block(seen, commands)}\nThe process is gone without a last word. To go on: {commands['run']}"
    return _block(seen, commands) + (f"\n  process   {seen.holder}" if seen.holder else "")


def _block(seen: Seen, commands: Mapping[str, str]) -> str:
    return summary_block(seen.summary, commands).removeprefix("pipeline: ")


def _json(seen: Seen) -> str:
    summary = seen.summary or {"schema_version": 1, "state": "none" if seen.holder is None else "starting"}
    return orjson.dumps({**summary, "alive": seen.holder is not None, "holder": seen.holder}).decode()
