"""Bounded decompression of bodies that arrive compressed although none was asked for."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_ANY_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32
_PIECE = 1 << 20


class EncodingError(ValueError):
    """The content coding is none that we read, or the data is not in it."""


class TooLargeError(ValueError):
    """The data is larger than allowed."""


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return `body` without its content coding.

    Args:
        body: As it was received.
        encoding: The Content-Encoding header: `gzip`, `deflate` or `identity`.
        limit: The most bytes that may come out.

    Raises:
        EncodingError: Another coding, or broken or cut data.
        TooLargeError: More than `limit` bytes come out; the rest is never made.
    """
    encoding = encoding.strip().lower()
    if encoding == "identity":
        return body
    if encoding in {"gzip", "x-gzip"}:
        return _unzip(body, _ANY_ZLIB_OR_GZIP, limit)
    if encoding == "deflate":
        # Servers send either a zlib stream, as the standard says, or a bare one; the first byte of a zlib stream is x8.
        return _unzip(body, _ANY_ZLIB_OR_GZIP if body[:1] and body[0] & 0x0F == 8 else -zlib.MAX_WBITS, limit)
    raise EncodingError(f"the content coding {encoding[:20]!r} is not known")


def _unzip(body: bytes, wbits: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while body:
        stream = zlib.decompressobj(wbits)
        for part in _pieces(stream, body):
            size += len(part)
            if size > limit:
                raise TooLargeError("the body is too large")
            parts.append(part)
        if not stream.eof:
            raise EncodingError("the compressed body is cut short")
        body = stream.unused_data
    return b"".join(parts)


def _pieces(stream: zlib._Decompress, body: bytes) -> Iterator[bytes]:
    """Yield what comes out in pieces: zlib doubles its buffer as it grows, and so would take twice the limit."""
    whole = True
    while whole and not stream.eof:
        try:
            part = stream.decompress(body, _PIECE)
        except zlib.error:
            raise EncodingError("the compressed body is broken") from None
        body = stream.unconsumed_tail
        whole = bool(body) or len(part) == _PIECE
        yield part
