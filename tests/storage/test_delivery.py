from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.errors import JobStopped, ReaderGone, StorageFailed
from pipeline.storage import delivery as delivery_module
from pipeline.storage.delivery import MOST_BEHIND, Delivery
from pipeline.storage.outlet import Appended, Outlet, appended_to
from pipeline.storage.sequence import AsTheyCome

LINE = b"x" * 9_999 + b"\n"


class Pipe(NamedTuple):
    reader: int
    writer: int


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    yield Pipe(reader, writer)
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue


class Bench:
    """A delivery from a log in `directory`, and why it wanted the run to stop."""

    def __init__(self, directory: Path, outlet: Outlet) -> None:
        self.log = directory / "log"
        self.log.touch()
        self.reasons: list[JobStopped] = []
        self.size = 0
        self.delivery = Delivery(AsTheyCome(self.log), outlet, 0, self.reasons.append)
        self.delivery.start()

    def commit(self, lines: int) -> None:
        with self.log.open("ab") as file:
            file.write(LINE * lines)
        self.size += len(LINE) * lines
        self.delivery.committed(self.size, [])


def read(descriptor: int, size: int) -> bytes:
    found = b""
    while len(found) < size and (block := os.read(descriptor, size - len(found))):
        found += block
    return found


async def until(room: asyncio.Event, *, open_: bool) -> None:
    async with asyncio.timeout(20):
        while room.is_set() is not open_:
            await asyncio.sleep(0.001)  # another thread can only be watched


async def test_what_is_committed_goes_on_at_once_and_the_end_waits_for_the_reader(tmp_path: Path, pipe: Pipe) -> None:
    bench = Bench(tmp_path, Outlet(pipe.writer))
    bench.commit(2)
    first = await asyncio.to_thread(read, pipe.reader, 2 * len(LINE))
    bench.commit(30)
    end = asyncio.create_task(bench.delivery.finish(32))
    second = await asyncio.to_thread(read, pipe.reader, 30 * len(LINE))
    await end
    bench.delivery.close()

    assert (first, second) == (LINE * 2, LINE * 30)
    assert bench.reasons == []


async def test_there_is_no_room_while_the_reader_is_behind(tmp_path: Path, pipe: Pipe) -> None:
    bench = Bench(tmp_path, Outlet(pipe.writer))
    many = 3 * MOST_BEHIND // len(LINE)
    bench.commit(many)
    await until(bench.delivery.room, open_=False)
    behind = bench.delivery.held_back()
    taken = await asyncio.to_thread(read, pipe.reader, many * len(LINE))
    await until(bench.delivery.room, open_=True)
    await bench.delivery.finish(many)
    bench.delivery.close()

    assert taken == LINE * many
    assert 0 < behind <= (held := bench.delivery.held_back())
    assert held == bench.delivery.held_back(), "it counts no more once there is room"


async def test_a_reader_that_goes_away_stops_the_run_even_where_nothing_is_to_be_written(
    tmp_path: Path, pipe: Pipe
) -> None:
    bench = Bench(tmp_path, Outlet(pipe.writer))
    bench.commit(1)
    await asyncio.to_thread(read, pipe.reader, len(LINE))
    os.close(pipe.reader)
    with pytest.raises(ReaderGone):
        await bench.delivery._over
    bench.delivery.close()

    assert [type(reason) for reason in bench.reasons] == [ReaderGone]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_behind_stdout_stops_the_run(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    bench = Bench(tmp_path, Outlet(full))
    bench.commit(1)
    with pytest.raises(StorageFailed, match="cannot write to stdout: No space left"):
        await bench.delivery.finish(1)
    bench.delivery.close()
    os.close(full)

    assert [type(reason) for reason in bench.reasons] == [StorageFailed]


async def test_a_stopped_run_does_not_wait_for_a_reader_that_takes_nothing(
    tmp_path: Path, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "_PATIENCE", 0.05)
    bench = Bench(tmp_path, Outlet(pipe.writer))
    bench.commit(100)
    end = asyncio.create_task(bench.delivery.finish(100))
    await asyncio.sleep(0)
    bench.delivery.give_up(JobStopped("enough"))

    with pytest.raises(JobStopped, match="enough"):
        await end
    bench.delivery.close()
    assert read(pipe.reader, 10) == LINE[:10]
    os.close(pipe.reader)
    bench.delivery._thread.join()


async def test_a_descriptor_that_does_not_block_loses_nothing(tmp_path: Path, pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    bench = Bench(tmp_path, Outlet(pipe.writer))
    bench.commit(100)
    end = asyncio.create_task(bench.delivery.finish(100))
    taken = await asyncio.to_thread(read, pipe.reader, 100 * len(LINE))
    await end
    bench.delivery.close()

    assert taken == LINE * 100


PIECES = [b"first\n", b"second\n", b"third\n"]


def appended(path: Path, earlier: Appended | None, pieces: list[bytes]) -> Appended | None:
    """Deliver `pieces` to a file that is appended to, as a run that knows of an earlier one does."""
    with path.open("ab", buffering=0) as file:
        found = appended_to(file.fileno(), earlier)
        outlet = Outlet(file.fileno(), found)
        outlet.skip_present(pieces)
        for piece in pieces:
            outlet.write(piece)
        outlet.flush()
    return found


@pytest.mark.parametrize("kept", range(len(b"".join(PIECES)) + 1))
def test_a_file_that_is_appended_to_gets_what_it_lacks_to_the_byte(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "all"
    path.write_bytes(b"of somebody else\n")
    began = appended(path, None, PIECES)
    os.truncate(path, len(b"of somebody else\n") + kept)

    assert appended(path, began, PIECES) == began
    assert path.read_bytes() == b"of somebody else\n" + b"".join(PIECES)


def test_a_file_that_holds_something_else_gets_everything(tmp_path: Path) -> None:
    path = tmp_path / "all"
    began = appended(path, None, PIECES)
    path.write_bytes(b"first\nanother\n")

    appended(path, began, PIECES)
    assert path.read_bytes() == b"first\nanother\n" + b"".join(PIECES)


def test_a_file_with_more_than_was_delivered_gets_everything(tmp_path: Path) -> None:
    path = tmp_path / "all"
    began = appended(path, None, PIECES)

    appended(path, began, PIECES[:2])
    assert path.read_bytes() == b"".join(PIECES + PIECES[:2])


def test_another_file_gets_everything(tmp_path: Path) -> None:
    began = appended(tmp_path / "one", None, PIECES)
    again = appended(tmp_path / "two", began, PIECES)

    assert (tmp_path / "two").read_bytes() == b"".join(PIECES)
    assert again != began


def test_a_file_that_is_not_appended_to_and_a_pipe_are_never_looked_at(tmp_path: Path, pipe: Pipe) -> None:
    with (tmp_path / "new").open("wb") as file:
        assert appended_to(file.fileno(), None) is None
    assert appended_to(pipe.writer, None) is None
