"""Several files as one input, below the command: what is read, in which order, and what is remembered of it."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StateMismatch, UsageError
from pipeline.storage.file_list import read_list, write_list
from pipeline.storage.growing import whole_end
from pipeline.storage.lines import CHUNK_LINES, Chunk
from pipeline.storage.several import Files, Pattern, is_several
from pipeline.storage.source import Source
from pipeline.storage.survey import survey
from pipeline.storage.taken import Taken

Made = tuple[int, bool, bool]
"""Lines of a file, whether the last one has a newline, whether it is compressed."""
_FILES = st.lists(
    st.tuples(st.integers(0, 3) | st.integers(4_000, 10_000), st.booleans(), st.booleans()), min_size=1, max_size=5
)


def make(folder: Path, files: list[Made]) -> list[bytes]:
    """Write the files and return all their lines."""
    lines = []
    for number, (count, ended, compressed) in enumerate(files):
        own = [b'{"f": %d, "n": %d}' % (number, line) for line in range(count)]
        content = b"\n".join(own) + (b"\n" if ended and own else b"")
        (folder / f"{number}.jsonl").write_bytes(content)
        if compressed:
            (folder / f"{number}.jsonl").rename(folder / f"{number}.jsonl.gz")
            (folder / f"{number}.jsonl.gz").write_bytes(gzip.compress(content))
        lines += own
    return lines


def look(folder: Path, *, growing: bool = False) -> Files:
    pattern = Pattern.of(f"{folder}/*")
    return survey(pattern.folder, pattern.names(), [], growing=growing)


def read(
    files: Files, known: list[Chunk] | None = None, done: Callable[[int], bool] = lambda _: False
) -> dict[int, bytes]:
    """What is read, by line, with the chunks in `known` extended."""
    known = known if known is not None else []
    chunks = {chunk.number: chunk for chunk in known}
    found: dict[int, bytes] = {}

    async def main() -> None:
        with Source("*", files) as source:
            async for page in source.pages(list(known), done):
                found.update(enumerate(page.lines, page.first_line))
                chunks[page.chunk.number] = page.chunk

    asyncio.run(main())
    known[:] = [chunks[number] for number in sorted(chunks)]
    return found


@settings(max_examples=20, deadline=None)
@given(files=_FILES, skipped=st.sets(st.integers(0, 5)))
def test_all_lines_are_read_in_order_and_finished_chunks_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, files: list[Made], skipped: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("f")
    lines = dict(enumerate(make(folder, files), 1))
    seen = look(folder)
    known: list[Chunk] = []

    assert read(seen, known) == lines
    assert seen.size == sum(len(line) + 1 for line in lines.values())
    whole = {chunk.number for chunk in known if chunk.lines == CHUNK_LINES}
    rest = read(seen, list(known), lambda number: number in skipped)
    assert rest == {n: line for n, line in lines.items() if (n - 1) // CHUNK_LINES not in skipped & whole}
    for number in random.Random(1).sample(sorted(lines), min(20, len(lines))):
        name, within = seen.locate(number)
        assert b'"f": %s, "n": %d}' % (name.partition(".")[0].encode(), within - 1) in lines[number]
        assert seen.line_of(name, within) == number


def test_what_is_new_continues_the_chunk_that_was_begun(tmp_path: Path) -> None:
    make(tmp_path, [(5_000, False, False)])
    first = look(tmp_path)
    known: list[Chunk] = []
    before = read(first, known)
    (tmp_path / "0-early.jsonl").write_bytes(b'{"n": "new"}\n' * 5_000)
    with (tmp_path / "0.jsonl").open("ab") as file:
        file.write(b'\n{"n": "grown"}\n')
    second = survey(tmp_path, ["0.jsonl", "0-early.jsonl"], first.stretches, growing=False)
    after = read(second, known)

    assert [stretch.name for stretch in second.stretches] == ["0.jsonl", "0-early.jsonl", "0.jsonl"]
    assert {number: after[number] for number in before} == before
    assert after[5_001] == b'{"n": "new"}'
    assert (after[10_001], second.locate(10_001)) == (b'{"n": "grown"}', ("0.jsonl", 5_001))
    assert [(chunk.number, chunk.lines) for chunk in known] == [(0, 8_192), (1, 10_001 - 8_192)]


def test_a_byte_order_mark_is_none_of_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'\xef\xbb\xbf{"n": 1}\n')
    (tmp_path / "b").write_bytes(b'\xef\xbb\xbf{"n": 2}\n')
    (tmp_path / "c.gz").write_bytes(gzip.compress(b'\xef\xbb\xbf{"n": 3}\n'))

    assert list(read(look(tmp_path)).values()) == [b'{"n": 1}', b'{"n": 2}', b'{"n": 3}']


def test_a_damaged_file_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    make(tmp_path, [(3, True, False)])
    (tmp_path / "z.gz").write_bytes(gzip.compress(b'{"n": 3}\n' * 100)[:-20])

    with pytest.raises(UsageError, match=r"z.gz': the gzip data ends in the middle; nothing was sent"):
        look(tmp_path)


def test_a_pipe_or_a_folder_among_the_files_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is a pipe: it cannot be one of several files"):
        look(tmp_path)
    (tmp_path / "pipe").unlink()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="it is a directory"):
        look(tmp_path)


def test_a_file_that_is_replaced_while_it_is_read_ends_the_run(tmp_path: Path) -> None:
    make(tmp_path, [(3, True, False)])
    files = look(tmp_path)
    (tmp_path / "new").write_bytes((tmp_path / "0.jsonl").read_bytes())
    (tmp_path / "new").replace(tmp_path / "0.jsonl")

    with pytest.raises(UsageError, match="was replaced while the input was read"):
        read(files)


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        (b'{"a": 1}\n{"a": 2}\n', 18),
        (b'{"a": 1}\n{"a": 2}', 17),
        (b'{"a": 1}\n{"a": ', 9),
        (b'{"a": 1}\n{"a": "\xc3', 9),
        (b'{"a', 0),
        (b"", 0),
        (b'{"a": 1}\n   ', 12),
        (b'{"a": 1}\n{"a": "' + b"x" * 100_000, 9),
        (b'{"a": 1}\n{"a": "' + b"x" * (17 << 20), 16 + (17 << 20)),
    ],
)
def test_the_last_line_is_whole_where_it_is_a_record_or_no_line_at_all(
    tmp_path: Path, content: bytes, whole: int
) -> None:
    (tmp_path / "f").write_bytes(content)
    with (tmp_path / "f").open("rb") as file:
        assert whole_end(file.fileno(), 0, len(content)) == whole


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("d/*.jsonl", "d/out.jsonl", True),
        ("d/*.jsonl", "d/e/out.jsonl", False),
        ("d/*.jsonl", "d/../d/out.jsonl", True),
        ("d/*.jsonl", "d/out.csv", False),
        ("*/in-?.jsonl", "x/in-1.jsonl", True),
        ("**/*.jsonl", "out.jsonl", True),
        ("**/*.jsonl", "a/b/out.jsonl", True),
        ("d/[ab].jsonl", "d/c.jsonl", False),
    ],
)
def test_a_pattern_covers_what_it_would_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, path: str, covered: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / path).resolve().parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()

    assert Pattern.of(pattern).covers(Path(path)) is covered
    assert Pattern.of(f"{tmp_path}/{pattern}").covers(Path(path)) is covered
    assert is_several(pattern)
    assert not is_several(path)


def test_a_list_of_files_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder, [(3, True, False), (2, False, True)])
    (folder / os.fsdecode(b"\xff\n")).write_bytes(b"{}\n")
    files = look(folder)
    write_list(tmp_path / "list", files.stretches, begun="x")

    assert read_list(tmp_path / "list") == list(files.stretches)
    assert read_list(tmp_path / "nowhere") == []
    for damage in (b"", b"[]", b'{"version": 2}', b'{"version": 1, "files": [[1]]}'):
        (tmp_path / "list").write_bytes(damage)
        with pytest.raises(StateMismatch):
            read_list(tmp_path / "list")


def test_what_was_taken_counts_once_its_run_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder, [(3, True, False)])
    files = look(folder).stretches
    Taken(tmp_path).begin("2026-11-01")
    with pytest.raises(StateMismatch, match="--date 2026-11-01"):
        Taken(tmp_path).begin("2026-11-02")
    begun = Taken(tmp_path)
    begun.begin("2026-11-01")
    assert (begun.begun, begun.files) == ("2026-11-01", [])
    begun.complete(files)
    complete = Taken(tmp_path)

    assert (complete.begun, complete.last, complete.files) == (None, "2026-11-01", list(files))
    complete.begin("2026-11-01")
    complete.complete(files)
    assert Taken(tmp_path).files == list(files), "an output that is begun anew takes its own files again"
