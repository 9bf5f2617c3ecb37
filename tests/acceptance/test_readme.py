"""Every block of the README is run or read, in its order; the built-in server stands in for OpenAI.

A block that cannot be run here has the line `<!-- not run: REASON -->` above it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from jinja2 import Environment, meta

import pipeline
from pipeline.builtin_files import builtin
from pipeline.config import Config, load
from pipeline.config.document import read_document
from pipeline.types import Json
from tests.acceptance.command import environment, write_config, write_records
from tests.acceptance.test_configs import adapted

ROOT = Path(pipeline.__file__).parent.parent
README = ROOT / "README.md"
PATIENCE = 120
"""Seconds that the commands of a block may take."""
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\n\Z")
_NAMED = re.compile(r"# (\S+\.ya?ml)\n")
SHIMS = {
    "bin/python3": 'if [ "$1$2" = -mvenv ]; then exit 0; fi\nexec {python} "$@"',
    "bin/pytest": "cd {root} && exec {python} -m pytest -q -p no:cacheprovider tests/core/test_packing.py",
    "bin/pipeline": 'exec {python} -m pipeline "$@"',
    ".venv/bin/pip": "exit 0",
    ".venv/bin/python": 'exec {python} "$@"',
    ".venv/bin/pipeline": 'exec {python} -m pipeline "$@"',
    ".venv/bin/uv": """\
[ "$1" = run ] || exit 0
shift
while case "$1" in -*) true ;; *) false ;; esac; do
    [ "$1" = --extra ] && shift
    shift
done
exec "$@\"""",
}
"""What stands in for a fresh environment, which takes minutes and a network: each is the program of this one."""


class Block(NamedTuple):
    """A fenced block."""

    line: int
    kind: str
    text: str
    not_run: str | None

    @property
    def commands(self) -> str:
        """What is typed: the lines behind `$`, with those that they go on in."""
        typed, goes_on = [], False
        for line in self.text.splitlines():
            if goes_on or line.startswith("$ "):
                typed.append(line if goes_on else line[2:])
                goes_on = line.endswith("\\")
        return "\n".join(typed)

    def __str__(self) -> str:
        return f"line {self.line}, {self.kind}: {(self.commands or self.text).splitlines()[0][:60]}"


def blocks(text: str) -> list[Block]:
    """Return the blocks of a Markdown text."""
    found = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        skipped = _NOT_RUN.search(before)
        found.append(Block(before.count("\n") + 1, fence[1], fence[2], skipped[1] if skipped else None))
    return found


BLOCKS = blocks(README.read_text(encoding="utf-8"))
RUN = [block for block in BLOCKS if block.kind in {"console", "python"}]
READ = [block for block in BLOCKS if block not in RUN]


class Workspace(NamedTuple):
    """A checkout for one who reads on from the first block to the last."""

    folder: Path
    variables: dict[str, str]
    sessions: list[int]

    def run(self, command: list[str]) -> tuple[int, str]:
        """Run a command and return its exit code and what it said. What it starts in the background goes on."""
        output = self.folder.parent / "said"
        with output.open("wb") as said:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            self.sessions.append(process.pid)
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        return code, output.read_text(errors="replace")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    home = tmp_path_factory.mktemp("readme")
    folder = home / "checkout"
    shutil.copytree(ROOT / "configs", folder / "configs")
    # In a checkout this is the built-in file, whose addresses variables may replace.
    (folder / "configs" / "endpoints.yaml").unlink()
    (folder / "configs" / "endpoints.yaml").symlink_to(builtin("endpoints.yaml"))
    for name, script in SHIMS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script.replace('{python}', sys.executable).replace('{root}', str(ROOT))}\n")
        path.chmod(0o755)
    command = [sys.executable, "-m", "pipeline.simulator", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    variables = environment(home, {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "a-test-key", "SIMULATOR_BASE_URL": url})
    variables["PATH"] = f"{folder / 'bin'}:{variables['PATH']}"
    here = Workspace(folder, variables, [])
    yield here
    for session in here.sessions:
        _end(session)
    server.kill()
    server.communicate()


def _end(session: int) -> None:
    """End what a block has left in the background."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_there_are_blocks_and_each_says_what_it_is() -> None:
    assert RUN
    assert [str(block) for block in BLOCKS if not block.kind] == []


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_runs(block: Block, workspace: Workspace) -> None:
    if block.not_run is not None:
        pytest.skip(block.not_run)
    command = [sys.executable, "-c", block.text]
    if block.kind == "console":
        command = ["bash", "-euo", "pipefail", "-c", block.commands]

    code, said = workspace.run(command)

    assert code == 0, f"README.md, {block}: exit code {code}\n{said}"


@pytest.mark.parametrize("block", READ, ids=str)
def test_a_block_is_sound(block: Block, workspace: Workspace, tmp_path: Path) -> None:
    if block.not_run is not None:
        pytest.skip(block.not_run)
    match block.kind:
        case "yaml":
            _check_yaml(block, workspace, tmp_path)
        case "json":
            json.loads(block.text)
        case "jsonl":
            assert all(json.loads(line) for line in block.text.splitlines())


def _check_yaml(block: Block, workspace: Workspace, folder: Path) -> None:
    """Run a config on records that have what it names, look up the endpoints of a file of them, and read the rest."""
    named = _NAMED.match(block.text)
    path = folder / (named[1] if named else "block.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")
    data = read_document(path).data
    if "job" in data:
        _run_config(block, path, workspace._replace(folder=folder))
    elif all(isinstance(entry, dict) and "base_url" in entry for entry in data.values()):
        path.rename(folder / "endpoints.yaml")
        for name in data:
            keys = {"job": "chat", "endpoint": name, "input": {"path": "x"}, "output": {"path": "y"}}
            load(write_config(folder, "c", **keys), {}, {})


def _run_config(block: Block, path: Path, here: Workspace) -> None:
    config = load(path, {}, here.variables).config
    source = here.folder / config.input.path
    if not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        write_records(source, [_record(config, number) for number in range(3)])
    changes = adapted(read_document(path).data)
    code, said = here.run([sys.executable, "-m", "pipeline", "run", str(path), "--yes", *changes])

    assert code == 0, f"README.md, {block}: exit code {code}\n{said}"


def _record(config: Config, number: int) -> dict[str, Json]:
    """A record with all fields that a config names."""
    templates = " ".join(filter(None, (config.text, config.prompt, config.system)))
    names = meta.find_undeclared_variables(Environment().parse(templates))  # noqa: S701 - only its names are looked at
    return dict.fromkeys([*names, *config.output.keep, config.input.id or "id"], f"text {number}")
