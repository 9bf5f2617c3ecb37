"""One verb: everything that answers requests is a Backend, the middleware included."""

from __future__ import annotations

from typing import Protocol

from pipeline.types import Request, Response


class Backend(Protocol):
    """Sends one request and returns its response.

    Raises:
        Retryable, Rejected, JobStopped: see `pipeline.errors`; nothing else is raised on purpose.
    """

    async def send(self, request: Request) -> Response:
        """Send `request` once and return what came back."""
