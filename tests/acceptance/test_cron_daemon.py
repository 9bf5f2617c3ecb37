from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.cron_daemon import LATENCY, check, unable, watch
from tests.judge import Judge


@pytest.mark.skipif(unable() is not None, reason=str(unable()))
def test_a_real_cron_daemon_runs_what_is_printed(judge: Callable[..., Judge], tmp_path: Path) -> None:
    """One minute of `python -m tests.acceptance.cron_daemon`."""
    home = tmp_path / "home"
    home.mkdir()

    check(watch(home, judge("--engine", "hashing", "--latency", str(LATENCY)), 1, 5))
