"""A folder with rows and a server, for programs that use the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.command import write_config, write_records
from tests.judge import Judge


class Scene(NamedTuple):
    """Where a test's files are, and the server that its variables lead to."""

    folder: Path
    server: Judge

    @property
    def sent(self) -> int:
        """Records that the server has answered."""
        return sum(len(entry.inputs) for entry in self.server.served())

    def config(self, **more: Any) -> Path:
        """Write a config that embeds `text`."""
        keys = {
            "job": "embeddings",
            "endpoint": "simulator",
            "model": "simulator-hashing-256",
            "text": "{{ text }}",
            "input": {"path": "in.jsonl", "id": "id"},
            "output": {"path": "out.jsonl", "keep": ["text"]},
            "retry": {"base": 0.01, "cap": 0.02, "max_outage": 1},
        }
        return write_config(self.folder, "c", **{**keys, **more})

    def records(self, count: int) -> Path:
        return write_records(self.folder / "in.jsonl", rows(count))


def rows(count: int) -> list[dict[str, str]]:
    """Rows with an id and a text."""
    return [{"id": f"r{number}", "text": f"text {number}"} for number in range(1, count + 1)]


SetUp = Callable[..., Scene]


@pytest.fixture
def scene(judge: Callable[..., Judge], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetUp:
    """Starts a server with flags of `pipeline simulate`, in an empty working directory."""

    def set_up(*flags: str) -> Scene:
        server = judge("--engine", "hashing", *flags)
        folder = tmp_path / "work"
        folder.mkdir()
        monkeypatch.chdir(folder)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "usage"))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        return Scene(folder, server)

    return set_up
