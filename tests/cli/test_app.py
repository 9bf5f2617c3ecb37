from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from pipeline.cli.app import COMMANDS, pipeline
from tests.cli.command import run

HEAVY = {"aiohttp", "pydantic", "numpy", "rich", "genai_prices", "asyncio", "sqlite3", "ruamel", "jinja2"}


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


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_explains_itself(name: str) -> None:
    command = pipeline.get_command(click.Context(pipeline), name)

    assert command is not None
    assert command.help


def test_the_version_is_printed_on_stdout(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)

    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "pipeline", "")


@pytest.mark.parametrize("arguments", [["nonsense"], ["usage", "--nonsense"], ["cron", "absent.yaml", "--at", "02:30"]])
def test_a_mistake_on_the_command_line_is_exit_2(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
