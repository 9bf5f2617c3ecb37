"""What a network error means for the request: not sent, perhaps billed, or for a person to mend."""

from __future__ import annotations

from typing import NamedTuple

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from pipeline.backends.inflate import EncodingError, TooLargeError
from pipeline.errors import Ambiguous, NeedsPerson, PipelineError, Rejected, Unreachable


class _Meaning(NamedTuple):
    seen: type[Exception]
    error: type[PipelineError]
    code: str
    what: str


_MEANINGS = (
    _Meaning(
        aiohttp.ClientConnectorCertificateError,
        NeedsPerson,
        "tls_verification",
        "the endpoint's TLS certificate cannot be verified: check `base_url`, the clock and `ca_file`",
    ),
    _Meaning(aiohttp.ClientConnectorSSLError, Unreachable, "tls_handshake", "the TLS handshake failed"),
    _Meaning(aiohttp.ClientConnectorDNSError, Unreachable, "dns", "the endpoint's name cannot be looked up"),
    _Meaning(aiohttp.ClientProxyConnectionError, Unreachable, "proxy_unreachable", "the proxy cannot be reached"),
    _Meaning(aiohttp.ClientConnectorError, Unreachable, "unreachable", "the endpoint cannot be reached"),
    _Meaning(aiohttp.ConnectionTimeoutError, Unreachable, "connect_timeout", "connecting took too long"),
    _Meaning(aiohttp.ClientHttpProxyError, Unreachable, "proxy_failed", "the proxy cannot connect to the endpoint"),
    _Meaning(TimeoutError, Ambiguous, "timeout", "no complete answer came before the deadline"),
    _Meaning(
        aiohttp.ServerDisconnectedError,
        Ambiguous,
        "connection_closed",
        "the connection was closed before the answer came",
    ),
    _Meaning(aiohttp.ClientPayloadError, Ambiguous, "answer_cut", "the answer was cut short"),
    _Meaning(EncodingError, Ambiguous, "bad_encoding", "the answer cannot be decompressed"),
    _Meaning(TooLargeError, Rejected, "answer_too_large", "the answer is too large: use smaller batches"),
    _Meaning(OSError, Ambiguous, "connection_reset", "the connection broke before the answer came"),
    _Meaning(aiohttp.ClientError, Ambiguous, "bad_http", "the answer is not HTTP"),
    _Meaning(HttpProcessingError, Ambiguous, "bad_http", "the answer is not HTTP"),
)
"""The first class that fits decides; the order puts subclasses first."""

FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError, EncodingError, TooLargeError)
"""All that an exchange can raise and `translated` knows."""


def translated(error: Exception) -> PipelineError:
    """Return the error of the tree that stands for a network error."""
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
        return NeedsPerson("the proxy asks for a login: put it into the proxy's URL", code="proxy_login", status=407)
    meaning = next(meaning for meaning in _MEANINGS if isinstance(error, meaning.seen))
    translated = meaning.error(f"{meaning.what} ({_detail(error)})", code=meaning.code)
    translated.billed = translated.billed or meaning.error is Rejected
    return translated


def _detail(error: Exception) -> str:
    """Return a network error's class and the system's name for it; its text may quote what the server sent."""
    number = error.errno if isinstance(error, OSError) else None
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return type(cause).__name__ + (f", {number}" if number else "")
