from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.fairness import Member
from pipeline.core.lane import Lane
from pipeline.storage.lane_file import RUNS, LaneFile

_OTHER_RUN = """
import sys
from pathlib import Path
from pipeline.core.lane import Lane
from pipeline.storage.lane_file import LaneFile

file = LaneFile(Path(sys.argv[1]))
if sys.argv[2] == "sharing":
    file.write(Lane(600, None, 3.0).state())
if sys.argv[2] == "stopped":
    file.lock()
print("here", flush=True)
sys.stdin.read()
"""


def other_run(path: Path, how: str = "at work") -> subprocess.Popen[bytes]:
    """Start a process that takes part, and wait until it does."""
    command = [sys.executable, "-c", _OTHER_RUN, str(path), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_what_one_run_writes_another_reads(tmp_path: Path) -> None:
    one, other = LaneFile(tmp_path / "lane"), LaneFile(tmp_path / "lane")
    lane, copy = Lane(600, None, 3.0), Lane(None, 9, 0.0)
    before = other.read()
    one.write(lane.state())
    one.say(Member(1.5, 7.0))
    read = other.read()
    assert read is not None
    copy.restore(read)

    assert before is None
    assert str(copy.state()) == str(lane.state())
    assert other.others()[0] == Member(1.5, 7.0)
    assert (one.count, other.count) == (2, 2)
    assert (one.found_empty, other.found_empty) == (True, False)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    LaneFile(tmp_path / "lane")

    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_the_last_to_leave_removes_the_files(tmp_path: Path) -> None:
    one, other = LaneFile(tmp_path / "lane"), LaneFile(tmp_path / "lane")
    one.close()
    left = other.count
    other.close()
    other.close()

    assert left == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_killed_takes_part_no_more(tmp_path: Path) -> None:
    file = LaneFile(tmp_path / "lane")
    process = other_run(tmp_path / "lane")
    before = file.count
    kill(process)

    assert before == 2
    assert file.recount() == 1
    assert file.count == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_run_left_behind_means_nothing_to_the_next(tmp_path: Path) -> None:
    process = other_run(tmp_path / "lane", "sharing")
    kill(process)
    left = list(tmp_path.iterdir())
    file = LaneFile(tmp_path / "lane")

    assert len(left) == 2
    assert file.found_empty
    assert file.read() is None


def test_a_run_that_was_stopped_while_it_held_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    file = LaneFile(tmp_path / "lane")
    process = other_run(tmp_path / "lane", "stopped")
    try:
        with pytest.raises(TimeoutError):
            file.lock()
    finally:
        kill(process)


def test_there_is_room_for_so_many_runs(tmp_path: Path) -> None:
    files = [LaneFile(tmp_path / "lane") for _ in range(RUNS)]
    with pytest.raises(OSError, match="share"):
        LaneFile(tmp_path / "lane")
    files.pop().close()

    assert LaneFile(tmp_path / "lane").count == RUNS


@pytest.mark.parametrize("kind", ["link", "readable", "directory"])
def test_what_is_no_file_of_ours_is_not_used(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "lane", tmp_path / "target"
    target.write_bytes(b"precious")
    if kind == "link":
        path.symlink_to(target)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"precious")
        path.chmod(0o644)
    with pytest.raises(OSError, match="lane"):
        LaneFile(path)

    assert target.read_bytes() == b"precious"
