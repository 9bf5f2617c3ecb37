from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.quantities import MOST_SECONDS, FailureLimit, dollars, failure_limit, nano_usd, seconds


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (0, 0.0),
        (90, 90.0),
        (0.5, 0.5),
        ("90", 90.0),
        ("30s", 30.0),
        ("15m", 900.0),
        ("2h", 7200.0),
        ("1d", 86_400.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("1.5h", 5400.0),
        ("500ms", 0.5),
        ("366d", MOST_SECONDS),
    ],
)
def test_a_duration_is_seconds_or_has_units(written: object, expected: float) -> None:
    assert seconds(written) == expected


@pytest.mark.parametrize(
    "written",
    ["", "5 weeks", "m", "-5s", "1e3", "5s!", "٣s", "9" * 5000, "367d", -1, MOST_SECONDS + 1, 10**400, True, None, [5],
     float("nan"), float("inf"), 1e400],
)  # fmt: skip
def test_no_other_duration_is_taken(written: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        seconds(written)


@given(st.integers(0, 366), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, secs: int) -> None:
    total = ((days * 24 + hours) * 60 + minutes) * 60 + secs
    if total <= MOST_SECONDS:
        assert seconds(f"{days}d{hours}h{minutes}m{secs}s") == total
        assert seconds(total) == seconds(str(total)) == total


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= seconds(text) <= MOST_SECONDS


@pytest.mark.parametrize(
    ("written", "nano"),
    [(5, 5_000_000_000), (0.1, 100_000_000), (1e-6, 1_000), (0.29, 290_000_000),
     (Decimal("1.000000001"), 1_000_000_001), (1_000_000_000, 10**18), (1e3, 10**12)],
)  # fmt: skip
def test_money_is_exact_to_the_nano_dollar(written: object, nano: int) -> None:
    assert nano_usd(dollars(written)) == nano


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (0, "above 0"),
        (0.0, "above 0"),
        (-1, "above 0"),
        (-0.5, "above 0"),
        (float("nan"), "above 0"),
        (float("inf"), "above 0"),
        (1e400, "above 0"),
        (Decimal("NaN"), "above 0"),
        (Decimal("1e400"), "above 0"),
        (10**30, "above 0"),
        (1e-9, "at least 0.000001"),
        (1e-10, "finer than"),
        (Decimal("0.0000000015"), "finer than"),
        ("5", "a number of US dollars"),
        ("$5", "a number of US dollars"),
        ("5 USD", "a number of US dollars"),
        (True, "a number of US dollars"),
        (None, "a number of US dollars"),
    ],
)
def test_no_other_money_is_taken(written: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        dollars(written)


@given(st.integers(1_000, 10**18))
def test_money_goes_round_in_nano_dollars(nano: int) -> None:
    assert nano_usd(dollars(Decimal(nano).scaleb(-9))) == nano


@given(st.integers(1_000, 10**15))
def test_a_float_with_nine_decimals_is_what_was_written(nano: int) -> None:
    assert nano_usd(dollars(float(f"{nano // 10**9}.{nano % 10**9:09}"))) == nano


def test_a_count_of_failures_holds_from_the_first_record() -> None:
    assert [failure_limit(3).most(read) for read in (1, 10_000)] == [3, 3]
    assert failure_limit(0).most(1) == 0


def test_a_share_of_failures_says_nothing_of_the_first_hundred_records() -> None:
    assert [failure_limit("5%").most(read) for read in (1, 99, 100, 119, 1_000)] == [None, None, 5, 5, 50]


@pytest.mark.parametrize(("written", "shown"), [(7, "7"), ("5%", "5%"), ("0.5 %", "0.5%"), ("100%", "100%")])
def test_a_failure_limit_shows_as_it_was_written(written: object, shown: str) -> None:
    limit = failure_limit(written)
    assert str(limit) == shown
    assert failure_limit(limit) is limit
    assert limit == (FailureLimit(count=7) if written == 7 else FailureLimit(share=limit.share))


@pytest.mark.parametrize("written", [-1, True, 0.5, "5", "101%", "-1%", "%", "5%%", "many", None, 10**12])
def test_no_other_failure_limit_is_taken(written: object) -> None:
    with pytest.raises(ValueError, match="must be a whole number from 0, or a share"):
        failure_limit(written)
