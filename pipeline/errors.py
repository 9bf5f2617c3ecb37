"""The error tree. Every class answers one question: try again, bury the record, or stop the job?

    PipelineError
    ├── Retryable      Throttled · Unreachable · Transient · Ambiguous (Malformed)
    ├── Rejected       the record becomes a dead letter
    └── JobStopped     the run ends with the exit code of the class

Foreign errors become one of these once, at the edge, by class and code and never by text.
"""

from __future__ import annotations

from pipeline.types import RateLimits


class PipelineError(Exception):
    """Base of all errors of this package.

    Args:
        message: What happened and what to do; shown to the user as it is, so it holds no secret and no prompt.
        code: The provider's code, or ours, in snake_case; the `code` of a dead letter.
        status: The HTTP status that was seen, if any.
        hint: The shortest wait in seconds that the server asked for.
        limits: What the response's `x-ratelimit-*` headers said.
    """

    code = "error"
    billed = False
    """Whether the provider may have billed the attempt."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        hint: float | None = None,
        limits: RateLimits | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.status = status
        self.hint = hint
        self.limits = limits
        self.attempts = 0
        """Attempts made for the request until this error was final."""
        self.first_at: float | None = None
        """When the first of them began, in seconds since the epoch."""


class Retryable(PipelineError):
    """The same request may succeed later."""

    counted = True
    """Whether the attempt counts against the record's number of attempts."""


class Throttled(Retryable):
    """The endpoint asked for fewer requests. Not billed, not counted, and the whole endpoint pauses."""

    code = "rate_limit_exceeded"
    counted = False


class Unreachable(Retryable):
    """The request never left: DNS, refused, connect timeout, TLS reset, no file descriptor. Not billed, not counted."""

    code = "unreachable"
    counted = False


class Transient(Retryable):
    """The server failed; the request was answered, but not served."""

    code = "server_error"

    def __init__(
        self,
        message: str,
        *,
        billed: bool = False,
        code: str | None = None,
        status: int | None = None,
        hint: float | None = None,
        limits: RateLimits | None = None,
    ) -> None:
        super().__init__(message, code=code, status=status, hint=hint, limits=limits)
        self.billed = billed


class Ambiguous(Retryable):
    """Something was sent and no usable answer came back: it may have been billed, so its reservation is charged."""

    code = "no_answer"
    billed = True


class Malformed(Ambiguous):
    """A 2xx whose answers cannot be matched to the records: none is accepted and the records go out singly."""

    code = "wrong_answers"


class Rejected(PipelineError):
    """The record can never succeed as it is: it becomes a dead letter; in a batch, the batch is halved first."""

    code = "rejected"
    halve = True
    """Whether a smaller batch may fare better; False where every attempt failed without blaming a record."""


class JobStopped(PipelineError):
    """The whole job must stop. `exit_code` is the process's exit code."""

    code = "stopped"
    exit_code = 1


class UsageError(JobStopped):
    """Usage, config or input refused; nothing was sent."""

    code = "usage"
    exit_code = 2


class BudgetReached(JobStopped):
    """The next request does not fit into the budget, or the deadline has come. Resumable."""

    code = "budget_reached"
    exit_code = 4


class StateMismatch(JobStopped):
    """State and files disagree; nothing was sent."""

    code = "state_mismatch"
    exit_code = 5


class NeedsPerson(JobStopped):
    """Key, quota, billing, TLS, unknown model: only a person can mend it. Resumable."""

    code = "needs_person"
    exit_code = 6


class EndpointUnavailable(JobStopped):
    """The endpoint was unavailable too long, or asked for a longer wait than allowed. Resumable."""

    code = "endpoint_unavailable"
    exit_code = 7


class StorageFailed(JobStopped):
    """Disk full or I/O error. Resumable."""

    code = "storage_failed"
    exit_code = 74


class ReaderGone(JobStopped):
    """Whoever read stdout went away before it had everything, as `head` does. Resumable."""

    code = "reader_gone"
    exit_code = 141

    def __init__(self) -> None:
        super().__init__("whoever read stdout went away; what came back is committed, run again to go on")


class Locked(JobStopped):
    """Another run holds the lock; nothing was sent."""

    code = "locked"
    exit_code = 75
