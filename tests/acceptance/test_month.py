from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.acceptance.month import run


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc, which builds the clock of those days, is not installed")
def test_nights_leave_state_logs_and_usage_bounded(tmp_path: Path) -> None:
    """Five nights of `python -m tests.acceptance.month`, in the third of which two runs are killed."""
    first, *_, last = run(tmp_path, 5)

    assert last.state - first.state < 2_000 * 4
    assert last.aside <= 2, "dead letters that were retried, and what the killed run left torn"
    assert last.a_day < 1.1 * first.a_day
    assert last.taken < 1_000
    assert last.usage < 2 * first.usage
    assert last.log < 5 * 2_000
    assert "2026-11-05T02:00" in (tmp_path / "home" / "growing.log").read_text(), (
        "the runs believe the clock of the month"
    )
