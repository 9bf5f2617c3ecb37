"""Compressed inputs come out whole, and damage is told after everything good was handed out."""

import gzip
import io
import json
import random
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.storage.compression import GZIP, ZSTD, Codec, Inflated
from pipeline.storage.lines import DamagedError
from pipeline.storage.source import Source

COMPRESS = {GZIP: gzip.compress, ZSTD: zstandard.ZstdCompressor().compress}
CODECS = pytest.mark.parametrize("codec", [GZIP, ZSTD], ids=["gzip", "zstd"])


def inflate(content: bytes, codec: Codec, block: int = 1 << 20) -> tuple[bytes, str]:
    """Return what comes out, and why it stopped (empty at the end of the data)."""
    stream = Inflated(io.BufferedReader(io.BytesIO(content)), codec)
    out = bytearray()
    buffer = bytearray(block)
    try:
        while count := stream.readinto(buffer):
            out += buffer[:count]
    except DamagedError as error:
        return bytes(out), str(error)
    return bytes(out), ""


async def collect(source: Source, into: list[bytes]) -> None:
    async for page in source.pages():
        into += page.lines


def noise(size: int) -> bytes:
    return random.Random(7).randbytes(size)


@CODECS
@given(parts=st.lists(st.binary(max_size=300), max_size=4), block=st.integers(1, 50))
def test_members_are_joined_whatever_the_size_of_a_read(codec: Codec, parts: list[bytes], block: int) -> None:
    content = b"".join(COMPRESS[codec](part) for part in parts)

    assert inflate(content, codec, block) == (b"".join(parts), "")


@CODECS
def test_truncated_data_gives_its_beginning_and_then_the_damage(codec: Codec) -> None:
    data = noise(300_000)
    out, why = inflate(COMPRESS[codec](data)[:-10_000], codec)

    assert data.startswith(out)
    assert len(out) > 100_000
    assert "ends in the middle" in why


@CODECS
def test_every_truncation_is_seen(codec: Codec) -> None:
    content = COMPRESS[codec](b'{"a":1}\n' * 20)

    for length in range(1, len(content)):
        assert inflate(content[:length], codec)[1] != ""


@CODECS
def test_something_after_the_data_is_damage(codec: Codec) -> None:
    out, why = inflate(COMPRESS[codec](b"data") + b"garbage", codec)

    assert out == b"data"
    assert "something else follows" in why


def test_a_wrong_checksum_is_damage() -> None:
    content = bytearray(gzip.compress(noise(100_000)))
    content[-8] ^= 1

    assert "corrupt" in inflate(bytes(content), GZIP)[1]


def test_zeros_that_fill_up_a_gzip_file_are_no_damage() -> None:
    assert inflate(gzip.compress(b"data") + bytes(512), GZIP) == (b"data", "")


def test_a_skippable_frame_is_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"

    assert inflate(skippable + COMPRESS[ZSTD](b"data"), ZSTD) == (b"data", "")


def repeated(codec: Codec, block: bytes, times: int) -> bytes:
    squeeze = zlib.compressobj(9, wbits=31) if codec is GZIP else zstandard.ZstdCompressor().compressobj()
    return b"".join([squeeze.compress(block) for _ in range(times)]) + squeeze.flush()


@CODECS
@pytest.mark.parametrize("filler", [b"\0", b"\n"])
def test_a_bomb_is_refused_soon_after_64_mib(codec: Codec, filler: bytes) -> None:
    out, why = inflate(repeated(codec, filler * (1 << 20), 200), codec)

    assert "bomb" in why
    assert len(out) <= 128 << 20


def test_records_that_are_all_alike_are_no_bomb() -> None:
    block = b'{"prompt": "the same question, for a load test"}\n' * 10_000
    content = repeated(ZSTD, block, 200)
    out, why = inflate(content, ZSTD)

    assert len(out) > 1000 * len(content)
    assert (len(out), why) == (200 * len(block), "")


@CODECS
def test_a_small_file_of_zeros_is_no_bomb(codec: Codec) -> None:
    assert inflate(COMPRESS[codec](bytes(1 << 20)), codec) == (bytes(1 << 20), "")


@CODECS
async def test_lines_before_the_damage_are_read_and_the_place_is_named(codec: Codec, tmp_path: Path) -> None:
    lines = [json.dumps({"n": n, "x": noise(30).hex()}).encode() + b"%d" % n for n in range(40_000)]
    path = tmp_path / f"in{codec.suffixes[0]}"
    path.write_bytes(COMPRESS[codec](b"\n".join(lines))[:-2000])

    read: list[bytes] = []
    with Source(str(path)) as source, pytest.raises(UsageError, match="good up to") as refused:
        await collect(source, read)

    assert 10_000 < len(read) < len(lines)
    assert read == lines[: len(read)]
    assert f"{len(read):,}" in refused.value.message
