"""The commands by name. A command's module is imported when the command is called, or asked for its help."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

import click

from pipeline.cli.examples import show_examples_first

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETING = "_PIPELINE_COMPLETE"
"""The variable by which a shell asks for completions; click derives it from the program's name."""


class Entry(NamedTuple):
    """Where a command is, and what it does in half a line."""

    module: str
    function: str
    short_help: str


COMMANDS = {
    "demo": Entry("pipeline.cli.demo", "demo", "Embed a sample file against the built-in server: no key, no network."),
    "init": Entry("pipeline.cli.init", "init", "Write a config and a three-line sample input to start from."),
    "plan": Entry("pipeline.cli.plan", "plan", "Records, tokens, requests, time and cost of a run; sends nothing."),
    "run": Entry("pipeline.cli.run", "run", "Run a config; the same command again carries on where it stopped."),
    "retry": Entry("pipeline.cli.run", "retry", "Send the dead letters of an output again, and nothing else."),
    "status": Entry("pipeline.cli.status", "status", "Progress of a run, of this or another process."),
    "report": Entry("pipeline.cli.report", "report", "One static HTML page about the last run of an output."),
    "dashboard": Entry("pipeline.cli.dashboard", "dashboard", "Serve a live page about all runs on this machine."),
    "usage": Entry("pipeline.cli.usage", "usage", "What all jobs have spent, by day, job or model."),
    "check": Entry(
        "pipeline.cli.check", "check", "Validate an input, or that an output answers its input exactly once."
    ),
    "notify": Entry("pipeline.cli.notify", "notify", "Send a test to everybody whom a config tells how its run goes."),
    "cron": Entry("pipeline.cli.cron", "cron", "Print a crontab line, a systemd timer or a Kubernetes CronJob."),
    "simulate": Entry("pipeline.simulator.command", "simulate", "Serve the built-in simulator on a port."),
    "config": Entry("pipeline.cli.config", "config", "Show or check a config, or print its schema."),
    "completion": Entry("pipeline.cli.completion", "completion", "Print the completion script of bash, zsh or fish."),
}


class Commands(click.Group):
    """A group whose commands are imported one by one, when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.function)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.{entry.function} is no command")
        show_examples_first(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 - for a mistake only

            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" (Did you mean {near[0]!r}?)" if near else ""))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:  # noqa: ARG002 - as above
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - wanted where a key was pressed

        found = {name: entry for name, entry in COMMANDS.items() if name.startswith(incomplete)}
        return [CompletionItem(name, help=entry.short_help) for name, entry in found.items()]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.short_help) for name, entry in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pipeline", message="%(prog)s %(version)s")
def pipeline() -> None:
    """Send a JSONL file through an OpenAI-style API: durable, paced to the rate limit, never over budget.

    \b
    pipeline demo                        try it, without a key
    pipeline init tickets                start from a sample config
    pipeline run configs/tickets.yaml    run it, or carry on

    Exit codes: 0 complete, 2 refused, 3 some records failed, 4 budget or deadline, 5 state and files disagree,
    6 a person is needed, 7 endpoint unavailable, 74 storage failed, 75 already running, 130/143 interrupted,
    141 the reader of stdout went away.
    """
