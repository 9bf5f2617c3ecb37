"""Pings to a dead man's switch, in the manner of healthchecks.io: `/start`, the plain URL, `/<exit code>`."""

from __future__ import annotations

from urllib.parse import urlsplit

from pipeline.channels.exchange import exchange
from pipeline.secret import Secret


class Heartbeat:
    """Pings one URL.

    Args:
        place: What to call it.
        url: A checked one.
    """

    def __init__(self, place: str, url: Secret) -> None:
        self.place = place
        self._url = url

    async def started(self) -> None:
        """A run begins. Raises Undelivered, as `ended` does."""
        await self._ping("/start")

    async def ended(self, exit_code: int) -> None:
        """A run has ended."""
        await self._ping(f"/{exit_code}" if exit_code else "")

    async def _ping(self, suffix: str) -> None:
        parts = urlsplit(self._url.reveal())
        path = parts.path.rstrip("/") + suffix if suffix else parts.path
        await exchange(parts._replace(path=path).geturl(), "GET", {})
