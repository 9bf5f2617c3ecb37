"""`pipeline cron`: prints how a scheduler would run a config; installs nothing."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import click

from pipeline.cli.streams import say

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_CRON = re.compile(r"(?:[\d*/,\-A-Za-z]+ +){4}[\d*/,\-A-Za-z]+|@(?:hourly|daily|weekly|monthly|yearly)")


class When(NamedTuple):
    """A time of day, or an expression in cron's own language."""

    cron: str
    clock: str | None
    """`HH:MM`, where that was given."""


def _when(_context: click.Context, _option: click.Parameter, text: str) -> When:
    clock = _CLOCK.fullmatch(text)
    if clock:
        return When(f"{int(clock[2])} {int(clock[1])} * * *", f"{int(clock[1]):02}:{clock[2]}")
    if _CRON.fullmatch(text):
        return When(text, None)
    raise click.BadParameter(f"{text!r}: write 02:30, or a crontab time such as '*/15 * * * *'")


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--at", required=True, callback=_when, metavar="TIME", help="02:30, or '*/15 * * * *'.")
@click.option("--systemd", "style", flag_value="systemd", help="A service and a timer instead.")
@click.option("--k8s", "style", flag_value="k8s", help="A Kubernetes CronJob instead.")
def cron(config: Path, at: When, style: str | None) -> None:
    """Print a crontab line that runs CONFIG, with absolute paths. Installs nothing.

    A run that still goes on makes the next one exit with 75. cron sets no environment: keep the key in a .env file
    beside the config, or name a file in endpoints.yaml (api_key: file:PATH).

    Example: pipeline cron configs/tickets.yaml --at 02:30   for crontab -e
    """
    if style == "systemd":
        say(_systemd(config, at), err=False)
    elif style == "k8s":
        say(_k8s(config, at), err=False)
    else:
        say(_crontab(config, at), err=False)


def _command(config: Path) -> list[str]:
    return [sys.executable, "-m", "pipeline", "run", str(config.absolute())]


def _crontab(config: Path, at: When) -> str:
    line = f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(_command(config))}"
    # cron turns an unescaped % into a line end.
    return f"{at.cron} {line}".replace("%", r"\%")


def _systemd(config: Path, at: When) -> str:
    if at.clock is None:
        raise click.UsageError("--systemd takes a time of day, such as --at 02:30")
    name = f"pipeline-{config.stem}"
    start = " ".join(_unit_quoted(word) for word in _command(config))
    return f"""\
# ~/.config/systemd/user/{name}.service
[Unit]
Description=pipeline run {config.name}

[Service]
Type=oneshot
WorkingDirectory={str(Path.cwd()).replace("%", "%%")}
ExecStart={start}
TimeoutStopSec=60
# Another run was still going on.
SuccessExitStatus=75

# ~/.config/systemd/user/{name}.timer
[Unit]
Description=pipeline run {config.name} at {at.clock}

[Timer]
OnCalendar=*-*-* {at.clock}:00
Persistent=true

[Install]
WantedBy=timers.target

# then: systemctl --user daemon-reload && systemctl --user enable --now {name}.timer"""


def _unit_quoted(word: str) -> str:
    """Quote a word of a unit file's command line, where % and $ stand for other things."""
    escaped = word.replace("\\", r"\\").replace('"', r"\"").replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _k8s(config: Path, at: When) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", config.stem.lower()).strip("-") or "run"
    return f"""\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: pipeline-{name}
spec:
  schedule: "{at.cron}"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 2
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 60
          securityContext: {{runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000}}
          containers:
            - name: pipeline
              image: YOUR_IMAGE_WITH_PIPELINE
              workingDir: /work
              command: [pipeline, run, configs/{config.name}]
              envFrom:
                - secretRef: {{name: pipeline-keys}}
              volumeMounts:
                - {{name: work, mountPath: /work}}
          volumes:
            - name: work
              persistentVolumeClaim: {{claimName: pipeline-work}}"""
