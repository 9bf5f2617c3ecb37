"""What a refusal means: status, headers and body become one error of the tree.

The body beats the status: its `code` decides, then its `type`, and only then the status. Texts are shown and never
matched. The classes are RELIABILITY.md §3, the codes API.md §3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pipeline.core.dialects import ErrorBody, read_error
from pipeline.core.hints import Headers, rate_limits, retry_after, wait_hint
from pipeline.errors import (
    Ambiguous,
    NeedsPerson,
    PipelineError,
    Rejected,
    Retryable,
    Throttled,
    Transient,
)
from pipeline.secret import redact_patterns
from pipeline.types import RateLimits

_MESSAGE_LENGTH = 200
_REDACTED_LENGTH = 65_536
"""How much of a server's message is redacted: enough that a key cut in two lies far beyond what is shown."""


class _Rule(NamedTuple):
    error: type[PipelineError]
    what: str
    """What happened and what to do; starts the message."""
    unknown: bool = False
    """The model or path is not known there: it stops a job that never had an answer, else it is the record's fault."""
    code: str = ""
    """Our code where the body's would mislead."""


_QUOTA = _Rule(NeedsPerson, "the account's quota or spend limit is used up: add credit or raise it, then run again")
_BILLING = _Rule(NeedsPerson, "billing is not active: set up a payment method, then run again")
_KEY = _Rule(NeedsPerson, "the endpoint refused the key: check that it is right and active, then run again")
_ACCESS = _Rule(NeedsPerson, "the key may not do this: check its permissions, project and region, then run again")
_MODEL = _Rule(NeedsPerson, "the model is not known there or not open to this key: check `model`", unknown=True)
_PATH = _Rule(NeedsPerson, "the endpoint does not serve this: check `base_url` and `model`", unknown=True)
_PAY = _Rule(NeedsPerson, "the endpoint asks for payment: set up billing, then run again")
_PROXY = _Rule(NeedsPerson, "the proxy asks for a login: put it into the proxy's URL")
_REDIRECT = _Rule(NeedsPerson, "the endpoint redirects, which is not followed: set `base_url` to the new address")
_THROTTLED = _Rule(Throttled, "the endpoint asked for fewer requests")
_OVERLOADED = _Rule(Throttled, "the endpoint is overloaded")
_FAILED = _Rule(Transient, "the server failed")
_TOO_LONG = _Rule(Rejected, "the record is longer than the model takes: shorten it or set `too_long: truncate`")
_TOO_LARGE = _Rule(Rejected, "the request is larger than the endpoint takes: use smaller batches or a shorter record")
_FILTERED = _Rule(Rejected, "the content filter refused the record: change its text")
_INVALID = _Rule(Rejected, "the endpoint refused the record as it is")
_OVER_LIMIT = _Rule(
    Rejected,
    "the request's tokens are above the account's limit: use smaller batches or a shorter record",
    code="request_too_large",
)
_NO_ANSWER = _Rule(Ambiguous, "the answer holds no result and may have been billed")

_BY_CODE = {
    "insufficient_quota": _QUOTA,
    "credit_balance_exhausted": _QUOTA,
    "organization_spend_limit_exceeded": _QUOTA,
    "project_spend_limit_exceeded": _QUOTA,
    "organization_usage_limit_exceeded": _QUOTA,
    "enforced_spend_limit_reached": _QUOTA,
    "billing_hard_limit_reached": _QUOTA,
    "billing_not_active": _BILLING,
    "invalid_api_key": _KEY,
    "account_deactivated": _KEY,
    "unsupported_country_region_territory": _ACCESS,
    "model_not_found": _MODEL,
    "rate_limit_exceeded": _THROTTLED,
    "slow_down": _THROTTLED,
    "resource_unavailable": _OVERLOADED,
    "server_is_overloaded": _OVERLOADED,
    "engine_overloaded": _OVERLOADED,
    "request_too_large": _TOO_LARGE,
    "context_length_exceeded": _TOO_LONG,
    "string_above_max_length": _TOO_LONG,
    "content_policy_violation": _FILTERED,
    "content_filter": _FILTERED,
    "content_filter_error": _FILTERED,
    "invalid_prompt": _FILTERED,
    "cyber_policy": _FILTERED,
    "bio_policy": _FILTERED,
}

_BY_TYPE = {
    "insufficient_quota": _QUOTA,
    "billing_error": _BILLING,
    "authentication_error": _KEY,
    "permission_error": _ACCESS,
    "rate_limit_error": _THROTTLED,
    "rate_limit_exceeded": _THROTTLED,
    "requests": _THROTTLED,
    "tokens": _THROTTLED,
    "tokens_usage_based": _THROTTLED,
    "overloaded_error": _OVERLOADED,
    "request_too_large": _TOO_LARGE,
    "exceed_context_size_error": _TOO_LONG,
    "not_supported_error": _PATH,
}

_BY_STATUS = {
    401: _KEY,
    402: _PAY,
    403: _ACCESS,
    404: _PATH,
    405: _PATH,
    407: _PROXY,
    408: _FAILED,
    409: _FAILED,
    413: _TOO_LARGE,
    424: _FAILED,
    425: _FAILED,
    429: _THROTTLED,
    499: _FAILED,
    501: _PATH,
    529: _OVERLOADED,
}

_MAYBE_BILLED = frozenset({502, 504, 524})
"""A gateway gave up waiting: the model behind it may have answered."""


def classify(
    status: int,
    headers: Headers,
    body: bytes,
    *,
    now: float | None = None,
    tokens: int = 0,
    succeeded: bool = False,
    redact: Callable[[str], str] = redact_patterns,
) -> PipelineError:
    """Return the error that a response means; for every status of 300 and more, and for a 2xx that holds an error.

    Args:
        status: The HTTP status.
        headers: The response's headers; lower-case names must be found.
        body: The response's body, decompressed.
        now: Seconds since the epoch, for a Retry-After that names a point in time.
        tokens: The request's charge. One above the limit that a 429 names can never succeed.
        succeeded: Whether the endpoint has answered a request of this job before: then an unknown model is the
            record's fault and not the job's.
        redact: Removes the key from a text.
    """
    said = _without_key(_read(status, headers, body), redact)
    limits = rate_limits(headers)
    rule, by_status = _rule(status, said)
    rule = _refined(rule, limits, tokens, succeeded)
    kind = _asked(rule.error, headers.get("x-should-retry"), by_status=by_status)
    if status < 300 and kind is Transient:
        kind = Ambiguous
    error = kind(
        _message(rule.what, status, said, redact),
        code=rule.code or said.code or said.kind or (None if kind in {Throttled, Ambiguous} else f"http_{status}"),
        status=status,
        limits=limits,
    )
    _complete(error, rule, headers, now)
    return error


def _read(status: int, headers: Headers, body: bytes) -> ErrorBody:
    if 300 <= status < 400:
        return ErrorBody(message=headers.get("location", "").partition("?")[0])
    return read_error(body)


def _without_key(said: ErrorBody, redact: Callable[[str], str]) -> ErrorBody:
    """A code or type that holds a key would be shown as the name of the error."""
    code, kind = (name if redact(name) == name else "" for name in (said.code, said.kind))
    return said._replace(code=code, kind=kind)


def _rule(status: int, said: ErrorBody) -> tuple[_Rule, bool]:
    """Return the rule that applies and whether nothing but a status chose it."""
    named = _BY_CODE.get(said.code) or _BY_TYPE.get(said.kind)
    if named is not None:
        return named, False
    meant = said.status if status < 300 and said.status else status
    return _by_status(meant, said), True


def _by_status(status: int, said: ErrorBody) -> _Rule:
    if status < 300:
        return _INVALID if said.kind == "invalid_request_error" else _NO_ANSWER
    if status < 400:
        return _REDIRECT
    return _BY_STATUS.get(status, _INVALID if status < 500 else _FAILED)


def _refined(rule: _Rule, limits: RateLimits | None, tokens: int, succeeded: bool) -> _Rule:
    if rule.unknown and succeeded:
        return rule._replace(error=Rejected)
    ceiling = limits.limit_tokens if limits else None
    if rule.error is Throttled and ceiling is not None and tokens > ceiling:
        return _OVER_LIMIT
    return rule


def _asked(kind: type[PipelineError], should_retry: str | None, *, by_status: bool) -> type[PipelineError]:
    """Return the class after what `x-should-retry` says: it forbids always, and allows where no code forbids."""
    if should_retry == "false" and issubclass(kind, Retryable):
        return Rejected
    if should_retry == "true" and kind is Rejected and by_status:
        return Transient
    return kind


def _complete(error: PipelineError, rule: _Rule, headers: Headers, now: float | None) -> None:
    if isinstance(error, Throttled):
        error.hint = wait_hint(headers, now)
    elif isinstance(error, Retryable):
        error.hint = retry_after(headers, now)
    if isinstance(error, Rejected):
        error.halve = not rule.unknown and not issubclass(rule.error, Retryable)
    error.billed = error.billed or _may_be_billed(error)


def _may_be_billed(error: PipelineError) -> bool:
    status = error.status or 0
    return status < 300 or (status in _MAYBE_BILLED and isinstance(error, Transient | Rejected))


def _message(what: str, status: int, said: ErrorBody, redact: Callable[[str], str]) -> str:
    name = " ".join(str(part) for part in (status, said.code or said.kind) if part)
    text = shown(said.message, redact)
    return f"{what} ({name})" + (f"; it says: {text}" if text else "")


def shown(text: str, redact: Callable[[str], str]) -> str:
    """Return a foreign text as it may be shown: no control characters, no key, at most 200 characters."""
    printable = "".join([char if char.isprintable() else " " for char in text[:_REDACTED_LENGTH]])
    return " ".join(redact(printable).split())[:_MESSAGE_LENGTH]
