"""The peers, each installed from the registry into a virtual environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Peer(NamedTuple):
    """One of the tools that a user would pick instead."""

    name: str
    requirements: tuple[str, ...]


PEERS = (
    Peer("lm-deluge", ("lm-deluge==0.0.168", "uvloop")),
    Peer("flexllm", ("flexllm==0.17", "uvloop")),
    Peer("async-batch-llm", ("async-batch-llm==0.28", "openai", "uvloop")),
    Peer("openai", ("openai", "uvloop")),
)


class NotInstalledError(Exception):
    """A peer cannot be installed here; the message says why."""


def install(peer: Peer, folder: Path) -> Path:
    """Install `peer` below `folder`, unless it is there, and return the folder of its programs.

    Raises:
        NotInstalledError: The registry or its build refused.
    """
    home = folder / peer.name
    programs = home / "bin"
    if (home / "installed").exists():
        return programs
    _run([sys.executable, "-m", "venv", "--clear", str(home)])
    _run([str(programs / "python"), "-m", "pip", "install", "--quiet", *peer.requirements])
    (home / "installed").touch()
    return programs


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(type(error).__name__) from error
    if done.returncode:
        raise NotInstalledError(done.stderr.strip()[-300:])
