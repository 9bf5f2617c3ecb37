"""A scripted endpoint that remembers what it was sent; for tests and dry runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from pipeline.backends.base import Backend
from pipeline.errors import PipelineError
from pipeline.types import Request, Response

Outcome = Response | PipelineError
"""What the fake endpoint does with a request: it answers, or the error is raised."""


class FakeBackend(Backend):
    """Answers from a script.

    Args:
        script: One outcome for each request in turn, or a function from the request to its outcome.

    Raises:
        LookupError: A request came after the end of the script.
    """

    def __init__(self, script: Iterable[Outcome] | Callable[[Request], Outcome]) -> None:
        self.requests: list[Request] = []
        """The requests that came, in their order."""
        self._outcome = script if callable(script) else _in_turn(script)

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        await asyncio.sleep(0)
        outcome = self._outcome(request)
        if isinstance(outcome, PipelineError):
            raise outcome
        return outcome


def _in_turn(script: Iterable[Outcome]) -> Callable[[Request], Outcome]:
    outcomes = iter(script)

    def following(_: Request) -> Outcome:
        try:
            return next(outcomes)
        except StopIteration:
            raise LookupError("the fake endpoint's script has ended") from None

    return following
