"""An answer that is an error, in OpenAI's error body."""

from __future__ import annotations

from collections.abc import Mapping

import orjson


class Refusal(Exception):
    """Ends a request with an error status.

    Args:
        status: The HTTP status.
        kind: The error's `type`.
        code: The error's `code`; None is sent as null.
        message: The error's text.
        param: The field of the request that is wrong.
        headers: Headers of this answer, besides the usual ones.
        content: Sent in place of the error body, as HTML: what a proxy in front of the endpoint answers.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.content_type = "application/json" if content is None else "text/html"
        self.content = error_body(kind, code, message, param) if content is None else content


def error_body(kind: str, code: str | None, message: str, param: str | None = None) -> bytes:
    """Return OpenAI's error body."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def invalid(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> Refusal:
    """Return the refusal of a request that cannot be served as it is."""
    return Refusal(status, "invalid_request_error", code, message, param=param)
