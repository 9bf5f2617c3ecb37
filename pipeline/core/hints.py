"""What a response's headers say about waiting and about the account's limits.

Headers are a mapping in which lower-case names are found: aiohttp's case-insensitive one, or a dict with such keys.
Servers write the same fact in many ways; whatever cannot be understood is ignored, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from pipeline.types import RateLimits

Headers = Mapping[str, str]

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?(?:ms|us|µs|μs|ns|d|h|m|s))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?)(ms|us|µs|μs|ns|d|h|m|s)", re.ASCII)

_EPOCH_SECONDS = 1e9
"""A bare number from here on is a point in time (September 2001 and later), not a wait of thirty years."""
_EPOCH_MILLISECONDS = 1e11

_BUCKETS = ("requests", "tokens", "project-tokens")


def wait_hint(headers: Headers, now: float | None) -> float | None:
    """Return the shortest wait in seconds that a refused request was asked for, or None.

    Args:
        headers: The response's headers.
        now: Seconds since the epoch; used for points in time where the response has no Date. None ignores those.
    """
    return retry_after(headers, now) or reset_wait(headers, now)


def retry_after(headers: Headers, now: float | None) -> float | None:
    """Return the larger of `retry-after-ms` and `Retry-After` in seconds; None where neither can be believed."""
    milliseconds = _number(headers.get("retry-after-ms"))
    waits = (
        None if milliseconds is None else milliseconds / 1_000,
        _retry_after_field(headers, now),
    )
    return max((wait for wait in waits if wait is not None and wait > 0), default=None)


def reset_wait(headers: Headers, now: float | None) -> float | None:
    """Return the longest `x-ratelimit-reset-*` of the buckets that are empty.

    A reset says when a bucket is full again, so it means a wait only where `remaining` is 0.
    """
    waits = [
        wait
        for bucket in _BUCKETS
        if _count(headers.get(f"x-ratelimit-remaining-{bucket}")) == 0
        and (wait := _reset(headers.get(f"x-ratelimit-reset-{bucket}"), headers, now)) is not None
    ]
    return max(waits, default=None)


def rate_limits(headers: Headers) -> RateLimits | None:
    """Return what the `x-ratelimit-*` headers say, or None where there are none that can be read.

    Where a project limit applies as well, the lower of the two limits and the lower of what remains count.
    """
    get = headers.get
    requests, left_requests = get("x-ratelimit-limit-requests"), get("x-ratelimit-remaining-requests")
    tokens, left_tokens = get("x-ratelimit-limit-tokens"), get("x-ratelimit-remaining-tokens")
    project = get("x-ratelimit-remaining-project-tokens")
    if requests is left_requests is tokens is left_tokens is project is None:
        return None
    limit_tokens, remaining_tokens = _limit(tokens), _count(left_tokens)
    if project is not None:
        limit_tokens = _lower(limit_tokens, _limit(get("x-ratelimit-limit-project-tokens")))
        remaining_tokens = _lower(remaining_tokens, _count(project))
    limits = RateLimits(_limit(requests), _count(left_requests), limit_tokens, remaining_tokens)
    return None if limits == (None, None, None, None) else limits


def _lower(a: int | None, b: int | None) -> int | None:
    return min((value for value in (a, b) if value is not None), default=None)


def _retry_after_field(headers: Headers, now: float | None) -> float | None:
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    return seconds if seconds is not None else _until(_http_date(text), headers, now)


def _reset(text: str | None, headers: Headers, now: float | None) -> float | None:
    """Parse a reset: a Go duration (`6m0s`), seconds, or a point in time as ISO 8601 or epoch."""
    if text is None:
        return None
    text = text.strip()
    wait = _number(text)
    if wait is None:
        wait = _duration(text) or _until(_iso_date(text), headers, now)
    elif wait >= _EPOCH_SECONDS:
        wait = _until(wait / 1_000 if wait >= _EPOCH_MILLISECONDS else wait, headers, now)
    return wait if wait is not None and isfinite(wait) and wait > 0 else None


def _duration(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))


def _until(moment: float | None, headers: Headers, now: float | None) -> float | None:
    """Return the seconds to `moment` by the server's own Date, so that a wrong clock here does not matter."""
    if moment is None:
        return None
    reference = _http_date(headers.get("date", ""))
    reference = now if reference is None else reference
    return None if reference is None else moment - reference


def _http_date(text: str) -> float | None:
    try:
        return _timestamp(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _iso_date(text: str) -> float | None:
    try:
        return _timestamp(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _timestamp(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(text: str | None) -> float | None:
    """Parse a decimal number; None for NaN, infinities, underscores and everything that is no number."""
    if text is None or "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def _count(text: str | None) -> int | None:
    value = _number(text)
    return int(value) if value is not None and value >= 0 else None


def _limit(text: str | None) -> int | None:
    """Parse a ceiling; 0 and less are how some servers say that there is none."""
    value = _count(text)
    return value or None
