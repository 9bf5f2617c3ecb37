from __future__ import annotations

import pytest

from pipeline.core.days import day_of, month_before, month_of

NOON = 1_795_262_400.0


@pytest.mark.parametrize(
    ("seconds", "day"),
    [(0.0, "1970-01-01"), (NOON, "2026-11-21"), (NOON + 43_199.9, "2026-11-21"), (NOON + 43_200, "2026-11-22")],
)
def test_a_day_ends_at_midnight_utc(seconds: float, day: str) -> None:
    assert (day_of(seconds), month_of(seconds)) == (day, day[:7])


@pytest.mark.parametrize(("month", "before"), [("2026-11", "2026-10"), ("2026-01", "2025-12"), ("2026-12", "2026-11")])
def test_before_january_is_december(month: str, before: str) -> None:
    assert month_before(month) == before
