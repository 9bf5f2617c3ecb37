"""Notifications: which events there are, what is said of them, and how a receiver knows who said it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import orjson

from pipeline.secret import redact_patterns
from pipeline.types import Json

RunEvent = Literal[
    "complete", "dead_letters", "soft_budget", "hard_budget", "deadline", "failed", "interrupted", "locked"
]
"""What a user can ask to be told. `soft_budget` comes under way, the others are how a run can end."""
Event = Literal[RunEvent, "test"]

SCHEMA_VERSION = 1
_OF_SUMMARY = (
    "job", "name", "state", "exit_code", "started_at", "ended_at", "message", "output", "errors",
    "records", "requests", "tokens", "money", "codes", "this_run",
)  # fmt: skip
_LONGEST = 500
"""Characters of one text."""
_MOST_ENTRIES = 20
_ENCODED_SECRET = "whsec_"  # noqa: S105 - the prefix of a secret, not one
"""What Standard Webhooks puts before a secret in base64."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One event, as it is told."""

    id: str
    """The same however often a delivery is repeated."""
    event: Event
    text: str
    """All of it in one sentence."""
    content: Mapping[str, Json]
    """The published schema."""

    def as_json(self) -> bytes:
        return orjson.dumps(self.content)


def event_at_end(exit_code: int, stop: str | None) -> RunEvent:
    """Return how a run ended.

    Args:
        exit_code: Its own.
        stop: The code of the error that stopped it.
    """
    ends: dict[int, RunEvent] = {0: "complete", 3: "dead_letters", 4: "hard_budget", 75: "locked"}
    if stop == "deadline":
        return "deadline"
    return ends.get(exit_code, "interrupted" if exit_code > 128 else "failed")


def notification(
    event: Event, text: str, summary: Mapping[str, Json], *, identity: str, host: str, at: str
) -> Notification:
    """Return what is told of an event: the summary's own words, each cut to a bounded size.

    Args:
        event: What happened.
        text: The same in one sentence.
        summary: As in `run.json`.
        identity: A name that no other notification has.
        host: The machine.
        at: When, in ISO 8601.
    """
    said = _bounded(text)
    content = {
        "schema_version": SCHEMA_VERSION,
        "id": identity,
        "event": event,
        "at": at,
        "host": _bounded(host),
        "text": said,
        **{key: _bounded(summary[key]) for key in _OF_SUMMARY},
    }
    return Notification(identity, event, said, content)


def signing_key(secret: str) -> bytes:
    """Return the key that a secret stands for: the bytes behind `whsec_…` in base64, else its own.

    Raises:
        ValueError: It begins with `whsec_` and is no base64.
    """
    if not secret.startswith(_ENCODED_SECRET):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_ENCODED_SECRET), validate=True)
    except binascii.Error:
        raise ValueError(f"must be base64 after {_ENCODED_SECRET}") from None


def signature(key: bytes, identity: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: HMAC-SHA256 over `id.timestamp.body`.

    The receiver computes the same, and refuses a timestamp (seconds since the epoch) that is older than some minutes:
    whoever recorded the delivery can then not repeat it.
    """
    signed = b"%b.%d.%b" % (identity.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _bounded(value: Json) -> Json:
    """A value of the summary with all its texts redacted and cut."""
    if isinstance(value, str):
        safe = redact_patterns(value.encode(errors="replace").decode())
        return safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}…"
    if isinstance(value, Mapping):
        return {_bounded(key): _bounded(value[key]) for key in list(value)[:_MOST_ENTRIES]}
    return value
