"""Every line is read once, under its number, whatever the blocks, the line ends, the compression and what is done."""

import asyncio
import gzip
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.parse import parse_line
from pipeline.errors import StateMismatch, UsageError
from pipeline.storage import lines as lines_module
from pipeline.storage import source as source_module
from pipeline.storage.lines import CHUNK_LINES, Chunk, DamagedError, Lines, Page
from pipeline.storage.opening import Pipe, open_input
from pipeline.storage.source import Identity, Source
from pipeline.types import BadLine, Record

WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "in.jsonl": lambda content: content,
    "in.jsonl.gz": gzip.compress,
    "in.jsonl.zst": zstandard.ZstdCompressor().compress,
}
NAMES = pytest.mark.parametrize("name", WRITERS)


def never(_: int) -> bool:
    return False


async def read(
    path: Path | str,
    known: Sequence[Chunk] = (),
    done: Callable[[int], bool] = never,
    *,
    limit: int | None = None,
    line_limit: int = 1 << 24,
) -> tuple[dict[int, bytes], list[Chunk]]:
    """Return the lines by number, and the last progress of each chunk."""
    found: dict[int, bytes] = {}
    chunks: dict[int, Chunk] = {}
    with Source(str(path), limit=limit, line_limit=line_limit) as source:
        async for page in source.pages(known, done):
            assert (page.first_line - 1) // CHUNK_LINES == (page.last_line - 1) // CHUNK_LINES == page.chunk.number
            assert not found.keys() & set(range(page.first_line, page.last_line + 1))
            found.update(enumerate(page.lines, page.first_line))
            chunks[page.chunk.number] = page.chunk
    return found, list(chunks.values())


async def collect(source: Source, known: Sequence[Chunk], seen: list[bytes]) -> None:
    async for page in source.pages(known):
        seen += page.lines


def numbered(count: int) -> list[bytes]:
    return [b'{"n":%d}' % number for number in range(1, count + 1)]


def as_lines(lines: list[bytes]) -> dict[int, bytes]:
    return dict(enumerate(lines, 1))


@contextmanager
def stdin(content: bytes) -> Iterator[None]:
    """Put a pipe that brings `content` in the place of standard input."""
    reading, writing = os.pipe()
    kept = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as pipe:
            for at in range(0, len(content), 4096):
                pipe.write(content[at : at + 4096])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        writer.join()


records = st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(-(2**63), 2**64 - 1), max_size=3)
entries = st.lists(st.none() | records, max_size=30)


@settings(deadline=None)
@given(
    entries, st.lists(st.integers(1, 40), min_size=1), st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans()
)
def test_objects_come_back_under_their_line_numbers_from_any_blocks(
    objects: list[dict[str, object] | None], sizes: list[int], end: bytes, closed: bool, marked: bool
) -> None:
    raws = [b"" if each is None else json.dumps(each, ensure_ascii=False).encode("utf-8") for each in objects]
    content = (b"\xef\xbb\xbf" if marked else b"") + end.join(raws) + (end if closed else b"")

    lines, pages, at = Lines(), list[Page](), 0
    for turn in range(len(content)):
        size = sizes[turn % len(sizes)]
        pages += lines.feed(content[at : at + size])
        at += size
    pages += lines.close()

    parsed = [parse_line(line, raw) for page in pages for line, raw in enumerate(page.lines, page.first_line)]
    assert [record for record in parsed if record is not None] == [
        Record(line, str(line), each) for line, each in enumerate(objects, 1) if each is not None
    ]
    blank = sum(page.chunk.blank for page in pages[-1:])
    assert blank == sum(record is None for record in parsed)
    assert [page.chunk.end for page in pages[-1:]] == ([len(content) + (not content.endswith(b"\n"))] if pages else [])


@given(st.text(alphabet="ab\n", max_size=60), st.integers(1, 60), st.integers(1, 60))
def test_pages_of_long_lines_do_not_depend_on_the_blocks(text: str, one: int, other: int) -> None:
    content = text.encode()

    def cut(size: int) -> tuple[list[bytes], list[Chunk]]:
        lines = Lines(limit=3)
        pages = [page for at in range(0, len(content), size) for page in lines.feed(content[at : at + size])]
        pages += lines.close()
        return [line for page in pages for line in page.lines], [page.chunk for page in pages[-1:]]

    assert cut(one) == cut(other)


@NAMES
@settings(deadline=None, max_examples=25)
@given(objects=entries)
async def test_objects_come_back_through_any_compression(name: str, objects: list[dict[str, object] | None]) -> None:
    raws = [b"" if each is None else json.dumps(each, ensure_ascii=False).encode() for each in objects]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(WRITERS[name](b"".join(raw + b"\n" for raw in raws)))
        found, _ = await read(path)

    assert found == as_lines(raws)


CHUNKS = 4
LINES = numbered(CHUNKS * CHUNK_LINES + 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One input of four chunks and a bit, in every compression."""
    folder = tmp_path_factory.mktemp("source")
    for name, compress in WRITERS.items():
        (folder / name).write_bytes(compress(b"\n".join(LINES)))
    return folder


@NAMES
@settings(deadline=None, max_examples=12)
@given(done=st.sets(st.integers(0, CHUNKS)), told=st.integers(0, CHUNKS + 1))
async def test_after_any_set_of_done_chunks_exactly_the_rest_is_read(
    folder: Path, name: str, done: set[int], told: int
) -> None:
    _, known = await read(folder / name)
    found, again = await read(folder / name, known[:told], done.__contains__)

    skipped = {number for number in done if number < min(told, CHUNKS)}
    assert found == {n: raw for n, raw in as_lines(LINES).items() if (n - 1) // CHUNK_LINES not in skipped}
    assert again == [chunk for chunk in known if chunk.number not in skipped]


async def test_done_chunks_of_a_plain_file_are_not_even_read(tmp_path: Path, folder: Path) -> None:
    _, known = await read(folder / "in.jsonl")
    hole = tmp_path / "in.jsonl"
    content = (folder / "in.jsonl").read_bytes()
    hole.write_bytes(bytes(known[2].end) + content[known[2].end :])

    found, _ = await read(hole, known, lambda number: number < 3)
    assert found == {n: raw for n, raw in as_lines(LINES).items() if n > 3 * CHUNK_LINES}


@NAMES
async def test_limited_reading_ends_there_and_can_be_carried_on(folder: Path, name: str) -> None:
    for limit in (1, CHUNK_LINES, CHUNK_LINES + 5):
        found, chunks = await read(folder / name, limit=limit)
        assert found == dict(list(as_lines(LINES).items())[:limit])
        assert sum(chunk.lines for chunk in chunks) == limit

    again, _ = await read(folder / name, chunks, lambda number: number == 0)
    assert again == {n: raw for n, raw in as_lines(LINES).items() if n > CHUNK_LINES}


async def test_progress_never_falls_behind_what_is_known(folder: Path) -> None:
    _, known = await read(folder / "in.jsonl", limit=CHUNK_LINES + 5)
    _, less = await read(folder / "in.jsonl", known, limit=CHUNK_LINES + 2)

    assert less == known


@NAMES
async def test_an_untouched_input_verifies(folder: Path, name: str) -> None:
    _, known = await read(folder / name)
    with Source(str(folder / name)) as source:
        assert await source.verify(known) == []
        assert await source.verify(known[:2]) == []
        assert await source.verify([]) == []
        assert await source.rescan(known) == known


def edited(line: int, text: bytes) -> list[bytes]:
    return [*LINES[: line - 1], text, *LINES[line:]]


FIRST, SECOND = (1, CHUNK_LINES), (CHUNK_LINES + 1, 2 * CHUNK_LINES)
LAST = (CHUNKS * CHUNK_LINES + 1, len(LINES))
CHANGES: dict[str, tuple[list[bytes], list[tuple[int, int]]]] = {
    "grown": ([*LINES, *numbered(CHUNK_LINES)], []),
    "an edit of the same length": (edited(5, b'{"n":x}'), [FIRST]),
    "an edit of another length": (edited(CHUNK_LINES + 1, b"{}"), [SECOND]),
    "the last line went on": (edited(len(LINES), LINES[-1] + b" "), [LAST]),
    "two edits and growth": ([*edited(1, b"{}"), b"{}"], [FIRST]),
    "a line more at the beginning": ([b"{}", *LINES], [(1, len(LINES))]),
    "two lines changed places": ([LINES[1], LINES[0], *LINES[2:]], [FIRST]),
    "one line less": (LINES[:-1], [LAST]),
    "a chunk less": (LINES[:CHUNK_LINES], [(CHUNK_LINES + 1, len(LINES))]),
    "empty": ([], [(1, len(LINES))]),
}


@NAMES
@pytest.mark.parametrize(("now", "ranges"), CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("end", [b"", b"\n"], ids=["open", "closed"])
async def test_edits_are_found_by_their_chunks_and_growth_is_none(
    folder: Path, tmp_path: Path, name: str, now: list[bytes], ranges: list[tuple[int, int]], end: bytes
) -> None:
    _, known = await read(folder / name)
    path = tmp_path / name
    path.write_bytes(WRITERS[name](b"\n".join(now) + (end if now else b"")))

    with Source(str(path)) as source:
        assert await source.verify(known) == ranges


async def test_an_accepted_edit_is_read_from_its_new_places(folder: Path, tmp_path: Path) -> None:
    _, known = await read(folder / "in.jsonl")
    path = tmp_path / "in.jsonl"
    now = edited(5, b'{"n":"longer than it was"}')
    path.write_bytes(b"\n".join(now))

    with Source(str(path)) as source:
        known = await source.rescan(known)
    found, _ = await read(path, known, lambda number: number == 0)
    assert found == {n: raw for n, raw in as_lines(now).items() if n > CHUNK_LINES}


@pytest.mark.parametrize("lines", [100, CHUNK_LINES])
@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_an_input_that_grew_is_carried_on_where_it_ended(tmp_path: Path, lines: int, end: bytes) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join(numbered(lines)) + end)
    _, known = await read(path)
    path.write_bytes(b"\n".join(numbered(lines + 3)) + end)

    found, _ = await read(path, known, lambda number: number == 0)
    assert list(found.items())[-3:] == list(as_lines(numbered(lines + 3)).items())[-3:]
    assert len(found) == (3 if lines == CHUNK_LINES else lines + 3)


async def test_what_is_appended_while_reading_belongs_to_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"n":1}\n')
    with Source(str(path)) as source:
        with path.open("ab") as file:
            file.write(b'{"n":2}\n')
        assert [page.lines async for page in source.pages()] == [[b'{"n":1}']]
        assert source.identity is not None
        assert source.identity.size == 8


async def test_a_file_that_is_cut_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"{}\n" * 10)
    seen: list[bytes] = []
    with Source(str(path)) as source:
        os.truncate(path, 9)
        with pytest.raises(UsageError, match="became shorter"):
            await collect(source, [], seen)
    assert seen == [b"{}"] * 3


async def test_an_input_that_is_deleted_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"{}\n")
    with Source(str(path)) as source:
        path.unlink()
        assert [page.lines async for page in source.pages()] == [[b"{}"]]


@NAMES
async def test_an_empty_input_has_no_lines(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for content in (b"", WRITERS[name](b"")):
        path.write_bytes(content)
        assert await read(path) == ({}, [])


async def test_blank_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\r\n\n  \t\n{}\n\r\n")
    found, (chunk,) = await read(path)

    assert len(found) == chunk.lines == 5
    assert chunk.blank == 4


@NAMES
@pytest.mark.parametrize("block", [64, 4096])
async def test_a_line_over_the_limit_is_cut_and_the_next_is_whole(
    tmp_path: Path, name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "BLOCK", block)
    long = b'{"x":"' + b"y" * 500 + b'"}'
    path = tmp_path / name
    for lines in ([b"{}", long, b'{"a":1}'], [long, long], [b"{}", b"x" * 100 + b"}", b"{}"]):
        path.write_bytes(WRITERS[name](b"\n".join(lines)))
        found, (chunk,) = await read(path, line_limit=100)

        assert found == as_lines([line[:101] for line in lines])
        assert chunk.end == len(b"\n".join(lines)) + 1
        bad = [parse_line(n, raw, limit=100) for n, raw in found.items() if len(raw) > 100]
        assert {each.code for each in bad if isinstance(each, BadLine)} == {"line_too_long"}


async def test_the_digest_sees_the_dropped_part_of_a_long_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "BLOCK", 64)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"x" * 500 + b"\n{}")
    _, known = await read(path, line_limit=100)
    for content, ranges in ((b"x" * 499 + b"y\n{}", [(1, 2)]), (b"x" * 500 + b"\n{}\n{}", [])):
        path.write_bytes(content)
        with Source(str(path), line_limit=100) as source:
            assert await source.verify(known) == ranges


def test_a_line_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "ENDLESS", 1000)
    lines = Lines(limit=10)
    lines.feed(b"{}\n" + b"x" * 990)

    assert len(lines.tail) == 11
    with pytest.raises(DamagedError, match="line 2 has no end"):
        lines.feed(b"x" * 20)


# -- standard input and pipes


async def test_standard_input_is_read_and_has_no_identity() -> None:
    with stdin(b"\n".join(LINES)):
        found, chunks = await read("-")
        with Source("-") as source:
            assert source.identity is None
            assert await source.verify(chunks) == []

    assert found == as_lines(LINES)


async def test_the_same_lines_on_standard_input_again_pass_and_done_ones_are_dropped() -> None:
    with stdin(b"\n".join(LINES)):
        _, known = await read("-", limit=CHUNK_LINES * 2 + 7)
    with stdin(b"\n".join(LINES)):
        found, _ = await read("-", known, lambda number: number == 1)
    with stdin(b"\n".join(LINES)):
        first, _ = await read("-", known, limit=3)

    assert found == {n: raw for n, raw in as_lines(LINES).items() if (n - 1) // CHUNK_LINES != 1}
    assert first == as_lines(LINES[:3])


@pytest.mark.parametrize(
    ("now", "good"),
    [
        (edited(5, b"{}"), 0),
        (edited(CHUNK_LINES + 3, b"{}"), CHUNK_LINES),
        (edited(2 * CHUNK_LINES + 7, b"{}"), 2 * CHUNK_LINES),
        (LINES[: CHUNK_LINES + 10], CHUNK_LINES),
        ([], 0),
    ],
)
async def test_no_line_of_a_changed_chunk_leaves_standard_input(now: list[bytes], good: int) -> None:
    with stdin(b"\n".join(LINES)):
        _, known = await read("-", limit=CHUNK_LINES * 2 + 7)

    seen: list[bytes] = []
    with stdin(b"\n".join(now)), Source("-") as source, pytest.raises(StateMismatch):
        await collect(source, known, seen)
    assert seen == LINES[:good]


async def test_standard_input_that_is_cut_in_a_line_is_refused_after_its_whole_lines() -> None:
    seen: list[bytes] = []
    with stdin(b'{"a":1}\n{"a":2'), Source("-") as source, pytest.raises(UsageError, match="middle of line 2"):
        await collect(source, [], seen)

    assert seen == [b'{"a":1}']


async def test_a_last_line_that_parses_needs_no_newline_on_standard_input() -> None:
    with stdin(b'{"a":1}\n{"a":2}'):
        assert (await read("-"))[0] == {1: b'{"a":1}', 2: b'{"a":2}'}


async def test_compressed_standard_input_is_refused_with_what_to_do() -> None:
    with stdin(gzip.compress(b"{}")), pytest.raises(UsageError, match="gzip -dc"):
        await read("-")


async def test_waiting_for_standard_input_can_be_cancelled() -> None:
    reading, writing = os.pipe()
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        with Source("-") as source:
            waiting = asyncio.ensure_future(anext(source.pages()))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), 5)
    finally:
        os.dup2(kept, 0)
        for fd in (reading, writing, kept):
            os.close(fd)


def test_closed_standard_input_is_refused() -> None:
    code = "from pipeline.storage.source import Source; Source('-')"
    ended = subprocess.run(["sh", "-c", '"$0" -c "$1" <&-', sys.executable, code], capture_output=True, check=False)

    assert b"UsageError: cannot read standard input: it is closed" in ended.stderr


async def test_a_named_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = b"\n".join(LINES) + b"\n"
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    found, _ = await read(path)
    writer.join()

    assert found == as_lines(LINES)


async def test_a_named_pipe_without_a_writer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "WRITER_WAIT", 0.02)
    path = tmp_path / "pipe"
    os.mkfifo(path)

    with pytest.raises(UsageError, match="no process writes"):
        await read(path)


def test_a_writer_that_has_not_written_yet_is_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pipe = Pipe(open_input(str(path)).fd, owned=True)
    assert not pipe.await_writer(0.01)

    writing = os.open(path, os.O_WRONLY)
    assert pipe.await_writer(0.01)
    os.write(writing, b"{}\n")
    os.close(writing)
    assert [pipe.read(8), pipe.read(8)] == [b"{}\n", b""]
    pipe.close()


def test_what_a_writer_wrote_at_the_last_moment_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pipe = Pipe(open_input(str(path)).fd, owned=True)
    writing = os.open(path, os.O_WRONLY)
    os.write(writing, b"{}\n")
    os.close(writing)
    poll, pipe._poll = pipe._poll, select.poll()

    assert pipe.await_writer(0)
    pipe._poll = poll
    assert [pipe.read(8), pipe.read(8)] == [b"{", b"}\n"]
    pipe.close()


# -- what is refused before anything is read


def refusal(path: Path | str) -> str:
    with pytest.raises(UsageError) as refused:
        Source(str(path))
    return refused.value.message


def test_what_is_no_readable_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))

    assert "in.jsonl': No such file" in refusal(tmp_path / "in.jsonl")
    assert "a directory" in refusal(tmp_path)
    assert "a socket" in refusal(tmp_path / "socket")
    assert "a device" in refusal("/dev/zero")
    assert "symbolic link to a file that does not exist" in refusal(tmp_path / "dangling")
    assert "loop" in refusal(tmp_path / "loop")
    assert "NUL" in refusal("a\0b")


def test_a_strange_name_is_shown_escaped(tmp_path: Path) -> None:
    message = refusal(str(tmp_path / "a\n\x1b[31m") + os.fsdecode(b"\xff"))

    assert message.isprintable()
    assert message.encode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.touch(mode=0o200)

    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.jsonl.gz", b"{}\n", "named .gz but holds no compressed data"),
        ("in.jsonl.gz", zstandard.ZstdCompressor().compress(b"{}"), "named .gz but holds zstd data"),
        ("in.jsonl.ZST", gzip.compress(b"{}"), "named .zst but holds gzip data"),
        ("in.jsonl", gzip.compress(b"{}"), "holds gzip data but is not named so"),
    ],
)
def test_a_name_that_lies_about_compression_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    assert said in refusal(path)


def test_a_refused_input_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "in.gz").write_bytes(b"{}")
    before = sorted(Path("/proc/self/fd").iterdir())
    for path in (tmp_path / "in.gz", tmp_path, tmp_path / "gone"):
        refusal(path)

    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_the_identity_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"{}\n")
    status = path.stat()
    with Source(str(path)) as source:
        assert source.identity == Identity(3, status.st_mtime_ns, status.st_ino, status.st_dev)
