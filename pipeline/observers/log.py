"""Log lines: notices, failures and pauses, as text or JSON. Never a body, and nothing that an answer could forge.

A line of JSON is an object with `time` (UTC), `level` and `event`, in a log file also `name` (of the run) and `pid`:

    started         job, endpoint, model, output
    notice          message
    attempt failed  error, code, status, seconds, records
    answered        seconds, records
    paused          for, reason
    progress        every field of `Snapshot`, and records_per_second
    summary         everything in `run.json`
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from pipeline.events import AttemptEnded, Event, Notice, Paused
from pipeline.observers.progress import duration
from pipeline.observers.snapshot import Snapshot
from pipeline.secret import redact_patterns

Field = str | int | float | None
Level = Literal["trace", "debug", "info", "warning", "error"]

_LEVELS: tuple[Level, ...] = ("trace", "debug", "info", "warning", "error")
_INFO = _LEVELS.index("info")
_LONGEST = 1000
"""Characters of one value: a server may send an error message of any length."""


class Source(NamedTuple):
    """Who writes a line of a log that others write to as well."""

    name: str
    pid: int


class Log:
    """Writes one line for each event worth one.

    Args:
        write: Takes a line without its newline; it must neither block nor raise.
        now: The time, in UTC.
        least: The lowest level that is written: `info` for notices alone, `debug` for attempts that failed and pauses
            too, `trace` for every attempt.
        style: `text`, or `json` for one object a line.
        stamped: Whether text lines begin with the time.
        source: Who writes, where that is not plain.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        now: Callable[[], datetime],
        *,
        least: Level = "info",
        style: Literal["text", "json"] = "text",
        stamped: bool = True,
        source: Source | None = None,
    ) -> None:
        self._write = write
        self._now = now
        self._least = _LEVELS.index(least)
        self._line = json_line if style == "json" else text_line
        self._stamped = stamped or style == "json"
        self._source = source

    @property
    def kinds(self) -> tuple[type[Event], ...]:
        """The kinds of events that can be worth a line."""
        return (Notice,) if self._least >= _LEVELS.index("info") else (Notice, Paused, AttemptEnded)

    def see(self, event: Event) -> None:
        if self._least >= _INFO and type(event) is not Notice:
            return  # by far the most events, looked at no further
        entry = describe(event)
        if entry is not None:
            self.say(*entry)

    def say(self, level: Level, name: str, fields: Mapping[str, Field]) -> None:
        """Write an entry that is no event."""
        if _LEVELS.index(level) < self._least:
            return
        at = self._now() if self._stamped else None
        self._write(self._line(at, level, name, fields, self._source))


def describe(event: Event) -> tuple[Level, str, Mapping[str, Field]] | None:
    """Return level, name and fields of an event, or None where it is not worth a line."""
    match event:
        case AttemptEnded(error=None):
            return "trace", "answered", {"seconds": round(event.seconds, 3), "records": event.items}
        case AttemptEnded():
            seen: dict[str, Field] = {"error": event.error, "code": event.code, "status": event.status}
            return "debug", "attempt failed", {**seen, "seconds": round(event.seconds, 3), "records": event.items}
        case Paused():
            return "debug", "paused", {"for": duration(event.seconds), "reason": event.reason}
        case Notice():
            level: Level = next((level for level in _LEVELS if level == event.level), "info")
            return level, "notice", {"message": event.message}
        case _:
            return None


def progress_fields(snapshot: Snapshot, per_second: float) -> dict[str, Field]:
    """Return one moment of a run."""
    return {**snapshot._asdict(), "records_per_second": round(per_second, 3)}


def progress_json(at: datetime, snapshot: Snapshot, per_second: float) -> str:
    """Return one moment of a run as one JSON object."""
    return json_line(at, "info", "progress", progress_fields(snapshot, per_second))


def summary_json(summary: Mapping[str, object], source: Source | None = None) -> str:
    """Return how a run ended as one JSON object: everything that `run.json` has."""
    common = {} if source is None else source._asdict()
    time = str(summary["ended_at"]).replace("+00:00", "Z")
    return json.dumps({"time": time, "level": "info", "event": "summary", **common, **summary})


def text_line(
    at: datetime | None, level: str, name: str, fields: Mapping[str, Field], source: Source | None = None
) -> str:
    """Return an entry for people: `2026-11-21T05:38:29Z attempt failed: code=timeout status=None …`."""
    head = _stamp(at) + ("" if source is None else f"{source.name}[{source.pid}] ")
    if name == "notice":
        return f"{head}{level}: {printable(fields['message'])}"
    values = " ".join(f"{key}={printable(value)}" for key, value in fields.items() if value is not None)
    return f"{head}{name}: {values}"


def json_line(
    at: datetime | None, level: str, name: str, fields: Mapping[str, Field], source: Source | None = None
) -> str:
    """Return an entry as one JSON object in ASCII."""
    safe = {key: _cut(value) if isinstance(value, str) else value for key, value in fields.items()}
    time = at and at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    common = {} if source is None else source._asdict()
    return json.dumps({"time": time, "level": level, "event": name, **common, **safe})


def printable(value: Field) -> str:
    """Return a value with every character escaped that would move the cursor, end the line or turn its direction."""
    text = _cut(str(value))
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _cut(text: str) -> str:
    safe = redact_patterns(text)
    return safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}…"


def _stamp(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ ") if at else ""
