"""What `pipeline cron` prints about: a config, its flags, and when a scheduler is to run it."""

from __future__ import annotations

import sys
from datetime import datetime, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipeline.core.schedule import Schedule, in_words, next_times

if TYPE_CHECKING:
    from pipeline.config import Loaded

_SHOWN_TIMES = 3
_TRIED_TIMES = 24
_LOCALTIME = Path("/etc/localtime")
_AFTER_DRAIN = 30
"""Seconds beyond the drain in which a run commits, sums up and exits."""
_HOUR = 3600.0


class Zone(NamedTuple):
    """The time zone in which this machine's schedulers work."""

    info: tzinfo | None
    name: str | None
    """As the IANA names it; None where the machine does not say."""


class Scheduled(NamedTuple):
    """One job of a scheduler."""

    config: Path
    """Absolute."""
    loaded: Loaded
    flags: tuple[str, ...]
    """Of `pipeline run`, as they were given."""
    schedule: Schedule
    zone: Zone
    now: datetime
    folder: Path
    """Where it runs: relative paths are taken from it."""

    @property
    def name(self) -> str:
        return self.loaded.config.name

    def command(self, *usual: str) -> list[str]:
        """Return the command, with absolute paths; what is `usual` for a scheduler gives way to the job's own flags."""
        return [sys.executable, "-m", "pipeline", "run", str(self.config), *usual, *self.flags]

    @property
    def stop_seconds(self) -> int:
        """How long a run may take to end once it is told to."""
        return int(self.loaded.config.drain) + _AFTER_DRAIN

    @property
    def is_frequent(self) -> bool:
        """Whether it comes more often than every hour: then a run that finds another at work had better not wait."""
        times = next_times(self.schedule, self.now, _TRIED_TIMES)
        return any((later - earlier).total_seconds() < _HOUR for earlier, later in pairwise(times))

    @property
    def when(self) -> str:
        """The schedule in words, with the time zone."""
        return f"{in_words(self.schedule)}, in {self.zone.name or 'local time'}, the time zone of this machine"

    @property
    def next(self) -> str:
        times = next_times(self.schedule, self.now, _SHOWN_TIMES)
        return ", ".join(f"{at:%a %Y-%m-%d %H:%M %Z}" for at in times)

    @property
    def keys(self) -> list[str]:
        """The variables that hold the config's secrets."""
        return sorted(set(self.loaded.secret_variables))

    @property
    def missing_keys(self) -> str:
        """Those that no `.env` beside the config sets, in words: schedulers set no variables."""
        from pipeline.config import read_dotenv  # noqa: PLC0415 - as the config itself, which --help need not wait for

        there = read_dotenv(self.loaded.folder / ".env")
        return " and no ".join(key for key in self.keys if key not in there)


def local_zone(link: Path = _LOCALTIME) -> Zone:
    """Return the time zone of the machine, which cron and systemd take their times in, whatever TZ says here."""
    name = str(link.resolve()).partition("zoneinfo/")[2]
    try:
        return Zone(ZoneInfo(name), name)
    except (ZoneInfoNotFoundError, ValueError):
        return Zone(datetime.now().astimezone().tzinfo, None)
