from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline.storage.line_file import LineFile
from tests.storage.outputs import sealed

WRITER = """
import os, sys
from pathlib import Path
from pipeline.storage.line_file import LineFile
file = LineFile(Path(sys.argv[1]), max_bytes=int(sys.argv[3]), keep=1000)
for number in range(0, 3000, 3):
    file.append([b"%s %d %s\\n" % (sys.argv[2].encode(), n, b"x" * (n % 90)) for n in range(number, number + 3)])
"""


def lines_of(*paths: Path) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]


@pytest.mark.parametrize("max_bytes", [1 << 30, 20_000])
def test_processes_that_share_a_file_tear_and_lose_no_line(tmp_path: Path, max_bytes: int) -> None:
    path = tmp_path / "log"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"w{number}", str(max_bytes)]) for number in range(3)
    ]
    codes = [writer.wait(timeout=60) for writer in writers]
    files = sorted(tmp_path.iterdir())
    found = Counter(lines_of(*files))
    wanted = {b"w%d %d %s\n" % (writer, n, b"x" * (n % 90)) for writer in range(3) for n in range(3000)}

    assert codes == [0, 0, 0]
    assert set(found) == wanted
    assert max(found.values()) == 1
    assert all(sealed(file) for file in files)
    assert (len(files) > 3) is (max_bytes == 20_000), "others write on while one of them rotates"


def test_a_full_file_is_renamed_and_only_so_many_are_kept(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "log", max_bytes=20, keep=2)
    for number in range(1, 6):
        file.append([b"line number %03d\n" % number])
    file.close()

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "log": b"line number 005\n",
        "log.1": b"line number 004\n",
        "log.2": b"line number 003\n",
    }


def test_a_line_that_is_longer_than_a_file_may_be_is_written_whole(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "log", max_bytes=20)
    file.append([b"x" * 100_000 + b"\n"])
    file.append([b"next\n"])
    file.close()

    assert (tmp_path / "log").read_bytes() == b"next\n"
    assert (tmp_path / "log.1").stat().st_size == 100_001


def test_the_directory_is_made_and_private(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "new" / "log")
    file.append([b"line\n"])
    file.close()

    assert sealed(tmp_path / "new" / "log")
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_a_header_is_written_once(tmp_path: Path) -> None:
    for number in (1, 2):
        file = LineFile(tmp_path / "log", header=b"header\n")
        file.append([b"%d\n" % number])
        file.close()

    assert (tmp_path / "log").read_bytes() == b"header\n1\n2\n"


def test_a_file_that_was_moved_away_by_somebody_else_is_begun_anew(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "log")
    file.append([b"1\n"])
    (tmp_path / "log").rename(tmp_path / "taken")
    file.append([b"2\n"])
    file.close()

    assert (tmp_path / "taken").read_bytes() == b"1\n"
    assert (tmp_path / "log").read_bytes() == b"2\n"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic"):
        LineFile(tmp_path / "log").append([b"line\n"])
    assert not (tmp_path / "elsewhere").exists()


def test_a_disk_that_was_full_tears_no_later_line(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    file = LineFile(tmp_path / "log")
    file.append([b"first\n"])
    assert file._descriptor is not None
    kept = os.dup(file._descriptor)
    os.dup2(write, file._descriptor)
    full = LineFile.__new__(LineFile)
    full.__dict__ |= file.__dict__
    full._has_the_name = lambda: True  # type: ignore[method-assign]
    full.append([b"x" * 60_000 + b"\n"])
    with pytest.raises(BlockingIOError):  # stands for a disk that takes a part
        full.append([b"x" * 60_000 + b"\n"])
    os.dup2(kept, file._descriptor)
    full.append([b"last\n"])

    assert (tmp_path / "log").read_bytes() == b"first\n\nlast\n"
    for descriptor in (read, write, kept, file._descriptor):
        os.close(descriptor)
