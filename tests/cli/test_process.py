from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.process import program


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    program.cache_clear()
    yield
    program.cache_clear()


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, which is not on the path."""
    (tmp_path / "venv").mkdir()
    script = tmp_path / "venv" / "pipeline"
    script.touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    return script.parent


def test_a_program_off_the_path_is_named_as_it_was_typed(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["venv/pipeline", "run"])

    assert program() == "venv/pipeline"


def test_a_program_that_a_shell_finds_is_named_by_its_name(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(scripts))
    monkeypatch.setattr(sys, "argv", [str(scripts / "pipeline")])

    assert program() == "pipeline"


@pytest.mark.parametrize("typed", ["/lib/pipeline/__main__.py", "-c", "/usr/bin/pytest"])
def test_a_module_is_named_by_its_name(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [typed])

    assert program() == "pipeline"
