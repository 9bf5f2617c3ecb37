"""A line for `crontab -e`."""

from __future__ import annotations

import shlex
from pathlib import Path

from pipeline.cli.scheduled import Scheduled
from pipeline.errors import UsageError

_LONGEST = 998
"""The most characters of a command that Debian's cron takes."""


def crontab(job: Scheduled, log: Path) -> str:
    """Return the line, with what it means as comments before it.

    Raises:
        UsageError: cron would not take it.
    """
    said = "Only what is wrong" if _quiet(job) else "A line for each run that had anything to do"
    notes = [f"# {job.name}: {job.when}", f"# next: {job.next}", f"# {said} goes to {log}"]
    if job.missing_keys:
        notes.append(f"# cron sets no {job.missing_keys}: put it into {job.config.parent / '.env'} (mode 0600)")
    return "\n".join([*notes, f"{job.schedule.text} {_escaped(_command(job, log))}"])


def _quiet(job: Scheduled) -> bool:
    return not {"-q", "--quiet"}.isdisjoint(job.flags)


def _command(job: Scheduled, log: Path) -> str:
    waits = not job.is_frequent and not job.loaded.config.lock_wait
    usual = [*(["--lock-wait", "10m"] if waits else []), "--log-format", "text", "--stats", "900"]
    run = shlex.join(job.command(*usual))
    return f"umask 077 && cd {shlex.quote(str(job.folder))} && {run} >>{shlex.quote(str(log))} 2>&1"


def _escaped(command: str) -> str:
    """A command as cron reads it: an unescaped % would end its line."""
    escaped = command.replace("%", r"\%")
    if "\n" in escaped or len(escaped) > _LONGEST:
        raise UsageError(
            f"the command has {len(escaped)} characters, or a line break in it; cron takes {_LONGEST} on one line: "
            "put the flags into the config, or take --systemd"
        )
    return escaped
