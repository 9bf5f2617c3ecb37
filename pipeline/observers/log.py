"""Log lines: notices, failures and pauses, as text or JSON. Never a body, and nothing that an answer could forge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

from pipeline.events import AttemptEnded, Event, Notice, Paused
from pipeline.observers.progress import duration
from pipeline.observers.snapshot import Snapshot
from pipeline.secret import redact_patterns

Field = str | int | float | None
Level = Literal["trace", "debug", "info", "warning", "error"]

_LEVELS: tuple[Level, ...] = ("trace", "debug", "info", "warning", "error")
_LONGEST = 1000
"""Characters of one value: a server may send an error message of any length."""


class Log:
    """Writes one line for each event worth one.

    Args:
        write: Takes a line without its newline; it must neither block nor raise.
        now: The time, in UTC.
        least: The lowest level that is written: `info` for notices alone, `debug` for attempts that failed and pauses
            too, `trace` for every attempt.
        style: `text`, or `json` for one object a line.
        stamped: Whether text lines begin with the time.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        now: Callable[[], datetime],
        *,
        least: Level = "info",
        style: Literal["text", "json"] = "text",
        stamped: bool = True,
    ) -> None:
        self._write = write
        self._now = now
        self._least = _LEVELS.index(least)
        self._line = json_line if style == "json" else text_line
        self._stamped = stamped or style == "json"

    @property
    def kinds(self) -> tuple[type[Event], ...]:
        """The kinds of events that can be worth a line."""
        return (Notice,) if self._least >= _LEVELS.index("info") else (Notice, Paused, AttemptEnded)

    def see(self, event: Event) -> None:
        entry = describe(event)
        if entry is None or _LEVELS.index(entry[0]) < self._least:
            return
        level, name, fields = entry
        at = self._now() if self._stamped else None
        self._write(self._line(at, level, name, fields))


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


def progress_json(at: datetime, snapshot: Snapshot, per_second: float) -> str:
    """Return one moment of a run as one JSON object."""
    return json_line(at, "info", "progress", {**snapshot._asdict(), "records_per_second": round(per_second, 3)})


def text_line(at: datetime | None, level: str, name: str, fields: Mapping[str, Field]) -> str:
    """Return an entry for people: `2026-11-21T05:38:29Z attempt failed: code=timeout status=None …`."""
    if name == "notice":
        return _stamp(at) + f"{level}: {printable(fields['message'])}"
    values = " ".join(f"{key}={printable(value)}" for key, value in fields.items() if value is not None)
    return f"{_stamp(at)}{name}: {values}"


def json_line(at: datetime | None, level: str, name: str, fields: Mapping[str, Field]) -> str:
    """Return an entry as one JSON object in ASCII."""
    safe = {key: _cut(value) if isinstance(value, str) else value for key, value in fields.items()}
    time = at and at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, "level": level, "event": name, **safe})


def printable(value: Field) -> str:
    """Return a value with every character escaped that would move the cursor, end the line or turn its direction."""
    text = _cut(str(value))
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _cut(text: str) -> str:
    safe = redact_patterns(text)
    return safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}…"


def _stamp(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ ") if at else ""
