"""A service and a timer for systemd: of the system for root, of the user for anybody else."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipeline.cli.scheduled import Scheduled
from pipeline.core.schedule import on_calendar

_OVERLAP = 75
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - not written to: PrivateTmp would hide what lies there
_ONLINE = "Wants=network-online.target\nAfter=network-online.target\n"


def systemd(job: Scheduled, *, root: bool | None = None) -> str:
    """Return both units, each below a comment with the file that it belongs into."""
    system = os.geteuid() == 0 if root is None else root
    name = "pipeline-" + re.sub(r"[^A-Za-z0-9_.-]+", "-", job.name)
    folder = "/etc/systemd/system" if system else "~/.config/systemd/user"
    parts = [
        f"# {folder}/{name}.service",
        _service(job, system=system),
        f"# {folder}/{name}.timer",
        _timer(job),
        *_steps(name, system=system),
    ]
    return "\n".join(parts)


def _service(job: Scheduled, *, system: bool) -> str:
    command = " ".join(_quoted(word) for word in job.command("--stats", "900"))
    key = f"# systemd sets no {job.missing_keys}: put it into a .env beside the config (mode 0600)\n"
    return f"""\
[Unit]
Description=pipeline run {_plain(job.config.name)}
{_ONLINE if system else ""}
[Service]
Type=oneshot
WorkingDirectory={_plain(str(job.folder))}
{key if job.missing_keys else ""}ExecStart={command}
# What is in flight when it is stopped gets {job.loaded.config.drain:g} s to come back.
TimeoutStopSec={job.stop_seconds}
# Another run was still at work.
SuccessExitStatus={_OVERLAP}
UMask=0077
NoNewPrivileges=true
LockPersonality=true
RestrictRealtime=true
RestrictSUIDSGID=true
{_private(job) if system else ""}"""


def _private(job: Scheduled) -> str:
    """What only the system's manager can do for sure."""
    config = job.loaded.config
    named = [str(job.config), config.input.path, config.output.path, config.state or ""]
    paths = [(job.folder / path).resolve() for path in named]
    hidden = any(path.is_relative_to(folder) for path in paths for folder in _TEMPORARY)
    return "" if hidden else "PrivateTmp=true\n"


def _timer(job: Scheduled) -> str:
    times = "\n".join(f"OnCalendar={line}" for line in on_calendar(job.schedule))
    return f"""\
[Unit]
Description=pipeline run {_plain(job.config.name)} {_plain(job.when)}

[Timer]
# next: {job.next}
{times}
# A time that passed while the machine was off is made up for.
Persistent=true

[Install]
WantedBy=timers.target
"""


def _steps(name: str, *, system: bool) -> list[str]:
    user = "" if system else " --user"
    linger = [] if system else ["# and, so that it runs while you are not logged in: loginctl enable-linger"]
    return [
        f"# then: systemctl{user} daemon-reload && systemctl{user} enable --now {name}.timer",
        *linger,
        f"# what it says: journalctl{user} -u {name}.service",
    ]


def _quoted(word: str) -> str:
    """Quote a word of a unit file's command line, where % and $ stand for other things."""
    escaped = word.replace("\\", r"\\").replace('"', r"\"").replace("%", "%%").replace("$", "$$").replace("\n", r"\n")
    return f'"{escaped}"'


def _plain(text: str) -> str:
    return text.replace("%", "%%").replace("\n", " ")
