"""Secrets that do not show: a wrapper that prints as `***`, and the redaction of texts that may hold one."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "***"

_SHORTEST = 4
"""A shorter value is no secret, and masking it would garble every text."""

_HINT = re.compile(r"sk-|bearer|://|[?&]", re.IGNORECASE)
"""What every text that one of the patterns matches holds."""
_PATTERNS = (
    (re.compile(r"\bsk-[\w*.-]{6,}"), MASK),
    (re.compile(r"\b(bearer)\s+[^\s\"',;]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"://[^/\s@]+@"), f"://{MASK}@"),
    (
        re.compile(r"([?&](?:api[-_]?key|key|token|access_token|sig|signature)=)[^&\s\"']+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
)


def redact_patterns(text: str) -> str:
    """Return `text` with everything masked that looks like a key: `sk-…`, `Bearer …`, `user:pass@`, `?key=…`."""
    if _HINT.search(text) is None:
        return text
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    return text


class Secret:
    """A key. Its repr, str, format and pickle are `***`; only `reveal` returns the value."""

    __slots__ = ("_forms", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._forms = tuple(_forms(value)) if len(value) >= _SHORTEST else ()

    def reveal(self) -> str:
        """Return the value itself, for the one place that sends it."""
        return self._value

    def redact(self, text: str) -> str:
        """Return `text` without this key, its base64 and URL-quoted forms, and without what looks like another key."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return redact_patterns(text)

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (MASK,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def _forms(value: str) -> Iterable[str]:
    """Return the spellings of `value` to look for, longest first; base64 without padding also finds it padded."""
    raw = value.encode()
    encoded = (base64.b64encode(raw), base64.urlsafe_b64encode(raw))
    forms = {value, quote(value, safe=""), *(form.decode().rstrip("=") for form in encoded)}
    return sorted(forms, key=len, reverse=True)
