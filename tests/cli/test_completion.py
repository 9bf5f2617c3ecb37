"""Completion, asked as a shell asks, and typed into real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.app import COMMANDS, COMPLETING
from pipeline.cli.keys import config_keys
from pipeline.config import Config
from pipeline.config.fields import keys
from pipeline.config.origin import dotted
from tests.cli.command import COMMAND, environment

PATIENCE = 20
"""Seconds that a shell may take."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with configs, and a `pipeline` for the path of a shell."""
    (tmp_path / "configs").mkdir()
    for name in ("configs/tickets.yaml", "configs/topics.yml", "configs/endpoints.yaml", "top.yaml", "data.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "configs" / "endpoints.yaml").write_text("azure:\n  base_url: https://example.com/v1\n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "pipeline"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline "$@"\n')
    program.chmod(0o755)
    return tmp_path


def variables(folder: Path) -> dict[str, str]:
    found = environment(folder, HOME=str(folder), TERM="dumb", PS1="$ ")
    return {**found, "PATH": f"{folder / 'bin'}:{found['PATH']}"}


def completed(line: str, folder: Path, shell: str = "zsh") -> list[str]:
    """The words that a shell is given for a line up to the cursor."""
    done = subprocess.run(
        COMMAND,
        cwd=folder,
        env={**variables(folder), COMPLETING: f"{shell}_complete", "COMP_WORDS": line},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [answer.split("\t")[1] or answer.split("\t")[0] for answer in done.stdout.splitlines() if answer]


def test_the_keys_that_are_read_from_the_source_are_those_of_the_schema() -> None:
    assert sorted(config_keys()) == sorted(map(dotted, keys(Config)))
    assert config_keys()["output.order"] == ("input", "done")
    assert config_keys()["strict"] == ("true", "false")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pipeline ", list(COMMANDS)),
        ("pipeline re", [name for name in COMMANDS if name.startswith("re")]),
        ("pipeline config s", ["schema", "show"]),
        ("pipeline run ", ["configs/tickets.yaml", "configs/topics.yml", "top.yaml"]),
        ("pipeline run configs/ti", ["configs/tickets.yaml"]),
        ("pipeline check data", ["data"]),
        ("pipeline run c.yaml --dead", ["--deadline"]),
        ("pipeline run c.yaml --set limits.t", ["limits.tpm="]),
        ("pipeline run c.yaml --set output.order=", ["output.order=input", "output.order=done"]),
        ("pipeline run c.yaml --set endpoint=", ["endpoint=openai", "endpoint=simulator"]),
        ("pipeline run configs/tickets.yaml --set endpoint=a", ["endpoint=azure"]),
        ("pipeline run c.yaml --input ", ["file"]),
        ("pipeline run c.yaml --state ", ["dir"]),
        ("pipeline run c.yaml --order ", ["input", "done"]),
        ("pipeline run 'unfinished", ["unfinished"]),
    ],
)
def test_a_line_is_completed(line: str, words: list[str], folder: Path) -> None:
    assert completed(line, folder) == words


def test_bash_gets_what_follows_its_last_word_end(folder: Path) -> None:
    assert completed("pipeline run c.yaml --set output.order=", folder, "bash") == ["input", "done"]
    assert completed("pipeline run c.yaml --order=d", folder, "bash") == ["done"]
    assert completed("pipeline run c.yaml --set=output.order=d", folder, "bash") == ["done"]


def test_completing_imports_nothing_heavy(folder: Path) -> None:
    program = "import sys\ntry:\n    import pipeline.cli\n    pipeline.cli.main()\nfinally:\n    print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**variables(folder), COMPLETING: "fish_complete", "COMP_WORDS": "pipeline run c.yaml --set lim"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "limits.rpm=" in done.stdout
    assert not {"pydantic", "ruamel", "asyncio", "rich", "orjson"} & {
        name.split(".")[0] for name in done.stdout.split()
    }


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._end, other = pty.openpty()
        self._process = subprocess.Popen(
            command, cwd=folder, env=variables(folder), stdin=other, stdout=other, stderr=other, start_new_session=True
        )
        os.close(other)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def until(self, pattern: str) -> re.Match[str]:
        """Return what is shown, once it matches."""
        end = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self._seen)) is None:
            ready, _, _ = select.select([self._end], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{pattern!r} is not in {self._seen!r}"
            self._seen += os.read(self._end, 65536).decode(errors="replace")
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._end)


TYPED = {
    "pipeline compl": "pipeline completion",
    "pipeline run configs/ti": "pipeline run configs/tickets.yaml",
    "pipeline run top.yaml --set limits.con": "pipeline run top.yaml --set limits.concurrency=",
    "pipeline run configs/tickets.yaml --set endpoint=az": "pipeline run configs/tickets.yaml --set endpoint=azure",
    "pipeline run top.yaml --input da": "pipeline run top.yaml --input data.jsonl",
}


@pytest.fixture
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    """The shell that the test names, with its completion script loaded as the script says."""
    shell: str = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    flags = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
    terminal = Terminal([shell, *flags], folder)
    first = "autoload -U compinit && compinit -u -D; unsetopt zle_bracketed_paste; " if shell == "zsh" else ""
    terminal.type(f'{first}PS1="$ "; eval "$(pipeline completion {shell})"; echo re""ady\n')
    terminal.until("ready")
    yield terminal
    terminal.close()


@pytest.mark.parametrize("terminal", ["bash", "zsh"], indirect=True)
@pytest.mark.parametrize("typed", TYPED)
def test_a_real_shell_completes_what_is_typed(terminal: Terminal, typed: str) -> None:
    # Ctrl-A and a command before it print the line as the shell has completed it.
    terminal.type(f"{typed}\t")
    terminal.until(re.escape(typed))
    terminal.type("\x01echo '<'\x05'>'\n")

    assert terminal.until(r"\n< ?(pipeline.*?) ?>")[1] == TYPED[typed]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize("typed", TYPED)
def test_fish_completes_what_is_typed(folder: Path, typed: str) -> None:
    script = f"pipeline completion fish | source; complete -C '{typed}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        cwd=folder,
        env=variables(folder),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [TYPED[typed].split(" ")[-1]]
