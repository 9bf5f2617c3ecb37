from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline.cli.app import COMMANDS, pipeline
from tests.cli.command import run

HEAVY = {"aiohttp", "pydantic", "numpy", "rich", "genai_prices", "asyncio", "sqlite3", "ruamel", "jinja2"}
ALLOWED = {"usage": {"sqlite3"}}
"""What the command cannot do without, and does not take long."""


@pytest.mark.parametrize("arguments", ["", "'--help'"])
def test_the_list_of_commands_imports_nothing_heavy(arguments: str) -> None:
    program = (
        "import sys, pipeline.cli, pipeline.cli.app\n"
        f"pipeline.cli.exit_code_of(lambda: pipeline.cli.app.pipeline.main([{arguments}], standalone_mode=False))\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert "simulate" in done.stdout + done.stderr
    assert not HEAVY & {name.split(".")[0] for name in done.stderr.split()}


def commands() -> Iterator[tuple[str, ...]]:
    """The words of every command and subcommand."""
    for name in COMMANDS:
        yield (name,)
        command = pipeline.get_command(click.Context(pipeline), name)
        yield from ((name, subcommand) for subcommand in command.commands) if isinstance(command, click.Group) else ()


def shown(*words: str) -> str:
    """The help of a command on a terminal of 80 columns."""
    return CliRunner(env={"COLUMNS": "80"}).invoke(pipeline, [*words, "--help"], prog_name="pipeline").stdout


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_the_help_of_a_command_begins_with_an_example_and_fits_80_columns(words: tuple[str, ...]) -> None:
    usage, _, first, *rest = shown(*words).splitlines()

    assert usage.startswith(f"Usage: pipeline {' '.join(words)}")
    assert re.search(rf"\bpipeline {' '.join(words)}\b", first), "end the docstring with `Example: pipeline …`"
    assert not [line for line in (first, *rest) if len(line) > 80]
    assert "Example" not in "".join(rest)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_the_help_of_a_command_explains_every_flag(words: tuple[str, ...]) -> None:
    command: click.Command | None = pipeline
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None

    assert command.short_help
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_the_help_of_a_command_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    program = (
        "import sys, pipeline.cli, pipeline.cli.app\n"
        f"pipeline.cli.app.pipeline.main([*{words!r}, '--help'], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert not (HEAVY - ALLOWED.get(words[0], set())) & {name.split(".")[0] for name in done.stderr.split()}


def test_the_version_is_printed_on_stdout(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)

    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "pipeline", "")


@pytest.mark.parametrize("arguments", [["nonsense"], ["usage", "--nonsense"], ["cron", "absent.yaml", "--at", "02:30"]])
def test_a_mistake_on_the_command_line_is_exit_2(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
