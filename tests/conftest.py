"""Fixtures for all tests."""

from __future__ import annotations

import asyncio
import signal

import asyncio_throttle.throttler
import pytest

from tests.judge import judge

__all__ = ["judge"]


def pytest_configure() -> None:
    # Under nohup SIGHUP is ignored, and would be by every process that a test starts.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class _LoopTime:
    """Stands for the module `time` where a library asks it instead of the loop."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()


@pytest.fixture
def throttler_on_loop_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let asyncio-throttle follow the loop's clock and not the system's: for `per_second` on virtual time."""
    monkeypatch.setattr(asyncio_throttle.throttler, "time", _LoopTime)
