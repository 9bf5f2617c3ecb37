"""Decompression gives back what went in, or stops."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backends.inflate import EncodingError, TooLargeError, inflate


@given(st.lists(st.binary(max_size=2_000), min_size=1, max_size=3))
def test_gzip_of_several_members_is_joined(parts: list[bytes]) -> None:
    body = b"".join(gzip.compress(part) for part in parts)

    assert inflate(body, "gzip", 10_000) == b"".join(parts)


@given(st.binary(max_size=2_000), st.sampled_from([15, -15]))
def test_deflate_is_read_with_and_without_its_header(data: bytes, wbits: int) -> None:
    assert inflate(zlib.compress(data, wbits=wbits), "deflate", 10_000) == data


@given(st.binary(), st.sampled_from(["gzip", "deflate", "br", "gzip, gzip"]))
def test_any_bytes_come_out_bounded_or_are_refused(body: bytes, encoding: str) -> None:
    with contextlib.suppress(EncodingError, TooLargeError):
        assert len(inflate(body, encoding, 1_000)) <= 1_000


def test_the_limit_is_exact() -> None:
    body = gzip.compress(b"x" * 1_000)

    assert len(inflate(body, "gzip", 1_000)) == 1_000
    with pytest.raises(TooLargeError):
        inflate(body, "gzip", 999)


def test_the_limit_counts_all_members_together() -> None:
    with pytest.raises(TooLargeError):
        inflate(gzip.compress(b"x" * 600) * 2, "gzip", 1_000)
