"""Webhooks: a POST of the event as JSON, signed where a secret is known."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.channels.exchange import exchange
from pipeline.core.notification import Notification, signature, signing_key
from pipeline.secret import Secret


class Webhook:
    """Delivers to one URL, under the headers of Standard Webhooks.

    Args:
        place: What to call it.
        url: A checked one.
        secret: What deliveries are signed with, if they are.
        now: Seconds since the epoch.

    Raises:
        ValueError: See `signing_key`.
    """

    def __init__(self, place: str, url: Secret, secret: Secret | None, now: Callable[[], float] = time.time) -> None:
        self.place = place
        self._url = url
        self._key = signing_key(secret.reveal()) if secret is not None else None
        self._now = now

    async def deliver(self, notification: Notification) -> None:
        body = notification.as_json()
        await exchange(self._url.reveal(), "POST", self._headers(notification, body), body)

    def _headers(self, notification: Notification, body: bytes) -> dict[str, str]:
        timestamp = int(self._now())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": notification.id,
            "webhook-timestamp": str(timestamp),
        }
        if self._key is None:
            return headers
        return headers | {"webhook-signature": signature(self._key, notification.id, timestamp, body)}
