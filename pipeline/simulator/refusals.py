"""Faults that answer with an error status."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import NamedTuple

from pipeline.simulator.refusal import Refusal, error_body


class Scene(NamedTuple):
    """What a refusal may speak of."""

    now: float
    """Seconds since the epoch."""
    key: str
    """The bearer key of the request."""
    elsewhere: str
    """Where redirects lead."""


RefusalFault = Callable[[Scene], Refusal]


def _rate_limited(*, retry_after: str | None = None, **headers: str) -> RefusalFault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if retry_after is not None:
        named["Retry-After"] = retry_after
    return lambda _: Refusal(429, "requests", "rate_limit_exceeded", "Rate limit reached.", headers=named)


def _limit_resets(form: Callable[[float], str]) -> RefusalFault:
    def refuse(scene: Scene) -> Refusal:
        named = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": form(scene.now)}
        return Refusal(429, "requests", "rate_limit_exceeded", "Rate limit reached.", headers=named)

    return refuse


def _rate_limited_until(seconds: float, scene: Scene) -> Refusal:
    date, then = (format_datetime(_utc(at), usegmt=True) for at in (scene.now, scene.now + seconds))
    named = {"Date": date, "Retry-After": then}
    return Refusal(429, "requests", "rate_limit_exceeded", "Rate limit reached.", headers=named)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _error(status: int, kind: str, code: str | None, message: str, **headers: str) -> RefusalFault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Refusal(status, kind, code, message, headers=named)


def _quota(code: str, status: int = 429) -> RefusalFault:
    return _error(status, "insufficient_quota", code, "You have used up your quota; check your plan and billing.")


def _proxy_page(status: int) -> RefusalFault:
    page = b"<html><head><title>%d</title></head><body>proxy error</body></html>" % status
    return lambda _: Refusal(status, "", None, "proxy error", content=page)


def _redirect(status: int) -> RefusalFault:
    return lambda scene: Refusal(status, "", None, "moved", headers={"Location": scene.elsewhere}, content=b"")


def _key_echoed(status: int, scene: Scene) -> Refusal:
    message = f"Something is wrong with the key {scene.key}."
    return Refusal(status, "invalid_request_error", None, message, headers={"x-echo": scene.key})


def _bare(status: int, body: bytes) -> RefusalFault:
    return lambda _: Refusal(status, "", None, "", content=body)


QUOTA_CODES = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "billing_not_active",
    "enforced_spend_limit_reached",
)

REFUSALS: dict[str, RefusalFault] = {
    "rate_limited": _rate_limited(),
    "rate_limited_seconds": _rate_limited(retry_after="1"),
    "rate_limited_float": _rate_limited(retry_after="0.25"),
    "rate_limited_ms": _rate_limited(retry_after="1", retry_after_ms="300"),
    "rate_limited_date": partial(_rate_limited_until, 2),
    "rate_limited_zero": _rate_limited(retry_after="0"),
    "rate_limited_negative": _rate_limited(retry_after="-1"),
    "rate_limited_nan": _rate_limited(retry_after="NaN"),
    "rate_limited_huge": _rate_limited(retry_after="1000000000"),
    "rate_limited_junk": _rate_limited(retry_after="soon"),
    "reset_go": _limit_resets(lambda _: "1s20ms"),
    "reset_go_long": _limit_resets(lambda _: "23h47m36.648s"),
    "reset_seconds": _limit_resets(lambda _: "1.5"),
    "reset_iso": _limit_resets(lambda now: _utc(now + 2).isoformat().replace("+00:00", "Z")),
    "reset_epoch": _limit_resets(lambda now: str(int(now + 2))),
    "reset_epoch_ms": _limit_resets(lambda now: str(int((now + 2) * 1000))),
    "slow_down": _error(429, "rate_limit_error", "slow_down", "Slow down.", retry_after="1"),
    "slow_down_503": _error(503, "service_unavailable_error", "slow_down", "Slow down.", retry_after="1"),
    "overloaded_503": _error(503, "service_unavailable_error", "server_is_overloaded", "The server is overloaded."),
    "overloaded_529": _error(529, "overloaded_error", None, "Overloaded."),
    **{code: _quota(code) for code in QUOTA_CODES},
    "payment_required": _quota("insufficient_quota", 402),
    "invalid_api_key": _error(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "permission_denied": _error(403, "invalid_request_error", "unsupported_country_region_territory", "Not here."),
    "proxy_authentication": _proxy_page(407),
    "model_not_found": _error(404, "invalid_request_error", "model_not_found", "The model does not exist."),
    "not_found": _error(404, "invalid_request_error", None, "Not found."),
    "invalid_request": _error(400, "invalid_request_error", None, "Invalid request."),
    "context_length": _error(400, "invalid_request_error", "context_length_exceeded", "The context is too long."),
    "content_filter_400": _error(400, "invalid_request_error", "content_filter", "The content was filtered."),
    "too_large": _error(413, "invalid_request_error", None, "The request is too large."),
    "unprocessable": _error(422, "invalid_request_error", None, "Unprocessable."),
    "request_timeout": _error(408, "server_error", None, "Request timeout."),
    "conflict": _error(409, "server_error", None, "Conflict."),
    "too_early": _error(425, "server_error", None, "Too early."),
    "server_error": _error(500, "server_error", None, "The server had an error."),
    "server_error_final": _error(500, "server_error", None, "The server had an error.", x_should_retry="false"),
    "invalid_but_retry": _error(400, "invalid_request_error", None, "Invalid request.", x_should_retry="true"),
    "unavailable": _error(503, "server_error", None, "Unavailable."),
    "bad_gateway": _proxy_page(502),
    "gateway_timeout": _proxy_page(504),
    **{f"proxy_{status}": _proxy_page(status) for status in range(520, 525)},
    "error_as_text": _bare(500, error_body("server_error", None, "truncated")[:20]),
    **{f"redirect_{status}": _redirect(status) for status in (301, 302, 307, 308)},
    "key_echoed_400": partial(_key_echoed, 400),
    "key_echoed_500": partial(_key_echoed, 500),
}
"""By name, the error that is answered in place of the work."""

AFTER_WORK = frozenset({"bad_gateway", "gateway_timeout", "proxy_524"})
"""Refusals that come when the work has been done, and so are billed."""
