"""How a run of this or another process stands, seen from its state directory."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.errors import StateMismatch
from pipeline.storage.state import Places, lock_holder
from pipeline.types import Json


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
