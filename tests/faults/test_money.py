"""A slice of `python -m tests.faults.money`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RUNS = int(os.environ.get("PIPELINE_TEST_MONEY_RUNS", "3"))


@pytest.mark.row(1, 83)
def test_whatever_happens_billed_is_at_most_recorded_and_recorded_at_most_the_cap() -> None:
    command = [sys.executable, "-m", "tests.faults.money", "--runs", str(RUNS), "--seed", "7"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60 + 20 * RUNS, check=False)
    print(f"\n{ended.stdout}")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith(f"{RUNS} runs, ")
