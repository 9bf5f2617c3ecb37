"""The three programs of the documentation, run as they stand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.command import environment, pipeline
from tests.acceptance.test_configs import as_openai
from tests.judge import Judge

EXAMPLES = sorted(path for path in Path(__file__).with_name("examples").glob("*.py") if path.stem != "__init__")
REQUESTS = {"script": 1, "rows": 2, "service": 1}
SAID = {
    "script": "3 records, nothing is sent yet\na-1 Invoice is wrong [",
    "rows": "I was charged twice in October. → ",
    "service": "['a-1', 'a-2']\n",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_runs_again_for_nothing(judge: Callable[..., Judge], tmp_path: Path, example: Path) -> None:
    server = judge()
    variables = environment(tmp_path, as_openai(server))
    assert pipeline("init", "tickets", home=tmp_path).code == 0

    first = ended(example, tmp_path, variables)
    sent = len(server.served())
    print(f"\n{example.name}: {first}")

    assert first.startswith(SAID[example.stem])
    assert sent == REQUESTS[example.stem]
    assert ended(example, tmp_path, variables) == first
    assert len(server.served()) == sent


def ended(program: Path, folder: Path, variables: dict[str, str]) -> str:
    """Run a program and return what it printed."""
    command = [sys.executable, str(program)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
