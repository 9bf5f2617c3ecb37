"""The flags that stand for config keys, the same for every command that reads a config."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from pipeline.cli import completers
from pipeline.cli.process import program
from pipeline.types import Json

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Flag(NamedTuple):
    """A flag and the config key that it sets. Its value is checked as the config's is."""

    names: tuple[str, ...]
    key: str
    help: str
    type: type | click.Choice[str] = str
    metavar: str | None = None

    @property
    def parameter(self) -> str:
        """The name under which click hands the value over."""
        return self.key.replace(".", "__")


FLAGS = (
    Flag(("-i", "--input"), "input.path", "Records: JSONL, also .gz or .zst; - is stdin.", metavar="FILE"),
    Flag(("-o", "--output"), "output.path", "Results; - is stdout, with --state beside it.", metavar="FILE"),
    Flag(("--since-last",), "input.since_last", "Of several files, those that no complete run has taken.", bool),
    Flag(("--date",), "now", "What {date} and {now:…} in paths stand for, such as 2026-11-25.", metavar="DAY"),
    Flag(("--limit",), "limit", "Only the first N lines of the input.", int, "N"),
    Flag(("--rpm",), "limits.rpm", "Requests a minute.", int, "N"),
    Flag(("--tpm",), "limits.tpm", "Tokens a minute.", int, "N"),
    Flag(("--per-second",), "limits.per_second", "Requests a second.", int, "N"),
    Flag(("--concurrency",), "limits.concurrency", "Requests in flight.", int, "N"),
    Flag(("--batch-size",), "batch.max_items", "Records in one request.", int, "N"),
    Flag(("--retries",), "retry.attempts", "Attempts for one record.", int, "N"),
    Flag(("--timeout",), "timeout", "The longest that one attempt may take.", metavar="TIME"),
    Flag(("--deadline",), "deadline", "Stop after this time; run again to go on.", metavar="TIME"),
    Flag(("--budget",), "budget.hard_usd", "Never spend more, over all runs of the output.", metavar="USD"),
    Flag(("--max-failures",), "max_failures", "Stop when more records fail.", metavar="N|5%"),
    Flag(("--strict",), "strict", "Refuse an input with a bad line before anything is sent.", bool),
    Flag(("--order",), "output.order", "Order of the finished file.", click.Choice(["input", "done"])),
    Flag(("--state",), "state", "Where progress is kept, if not beside the output.", metavar="DIR"),
    Flag(("--lock-wait",), "lock_wait", "Wait for another run of this output to end.", metavar="TIME"),
    Flag(("--drain",), "drain", "Time for what is in flight when the run is stopped.", metavar="TIME"),
    Flag(("--log-file",), "log.file", "Append the log to FILE too, rotated by size.", metavar="FILE"),
    Flag(("--log-format",), "log.format", "auto: JSON in a .jsonl file.", click.Choice(["auto", "text", "json"])),
    Flag(("--joblog",), "joblog", "Append a line for every attempt, as GNU parallel does.", metavar="FILE"),
    Flag(("--metrics-file",), "metrics.file", "Keep a .prom file for node_exporter.", metavar="FILE"),
)


_CONFIG = click.argument("config", type=click.Path(path_type=Path), shell_complete=completers.configs)
_ASSIGN = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any config key.",
    shell_complete=completers.assignments,
)


def config_and_flags(function: _Function) -> _Function:
    """Give a command its CONFIG, the flags and `--set`; the flags' values are for `overrides`."""
    function = _ASSIGN(function)
    for flag in reversed(FLAGS):
        function = _option(flag)(function)
    return _CONFIG(function)


def config_and_places(function: _Function) -> _Function:
    """Give a command that only looks at an output its CONFIG and what says where the output lies, for `overrides`."""
    function = _ASSIGN(function)
    for flag in reversed(FLAGS):
        if flag.key in ("output.path", "state"):
            function = _option(flag._replace(names=flag.names[-1:]))(function)
    return _CONFIG(function)


def _option(flag: Flag) -> Callable[[_Function], _Function]:
    if flag.type is bool:
        return click.option(*flag.names, flag.parameter, is_flag=True, flag_value=True, default=None, help=flag.help)
    return click.option(
        *flag.names,
        flag.parameter,
        type=flag.type,
        metavar=flag.metavar,
        help=flag.help,
        shell_complete=completers.paths(flag.metavar),
    )


def overrides(values: Mapping[str, Json]) -> dict[str, Json]:
    """Return the config keys that the flags set.

    Args:
        values: What click hands to a command with `config_and_flags` or `config_and_places`.
    """
    given = {flag.key: values[flag.parameter] for flag in FLAGS if values.get(flag.parameter) is not None}
    return dict(_assignment(text) for text in values["assignments"]) | given


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE, such as limits.rpm=500", param_hint="--set")
    return key.strip(), value


def again(command: str, config: Path, given: Mapping[str, Json]) -> str:
    """Return what to type to go on with the same config and the same flags."""
    words = [program(), command, str(config)]
    rest = dict(given)
    for flag in FLAGS:
        if flag.key in rest:
            value = rest.pop(flag.key)
            words += [flag.names[-1]] if flag.type is bool else [flag.names[-1], str(value)]
    for key, value in rest.items():
        words += ["--set", f"{key}={value}"]
    return shlex.join(words)
