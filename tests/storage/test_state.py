from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import Locked, StorageFailed, UsageError
from pipeline.storage.state import Lock, Places, make_private, replace_durably, storage_errors, write_all


def test_a_directory_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "state"
    make_private(directory)
    directory.chmod(0o755)
    make_private(directory)

    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["file", "link", "below a file"])
def test_what_is_no_directory_of_ours_is_refused(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "state"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.write_text("mine")
    with pytest.raises(UsageError, match="--state"):
        make_private(place / "below" if kind == "below a file" else place)


def test_a_lock_that_is_held_names_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waits: list[float] = []
    held = Lock.take(path)
    with pytest.raises(Locked, match=rf"pid {os.getpid()} since"):
        Lock.take(path, wait=0.25, sleep=waits.append)
    held.release()
    Lock.take(path).release()

    assert sum(waits) == pytest.approx(0.25)


def test_a_lock_is_taken_as_soon_as_it_is_free(tmp_path: Path) -> None:
    held = Lock.take(tmp_path / "lock")
    Lock.take(tmp_path / "lock", wait=10, sleep=lambda _: held.release()).release()


def test_who_only_looks_at_a_lock_keeps_nobody_from_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    Lock.take(path).release()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    Lock.take(path, sleep=lambda _: os.close(looking)).release()


def test_who_looks_at_a_lock_for_ever_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    Lock.take(path).release()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    waits: list[float] = []
    with pytest.raises(Locked):
        Lock.take(path, sleep=waits.append)
    os.close(looking)

    assert 0 < sum(waits) < 1


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    held = Lock.take(tmp_path / "lock")
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    held.release()
    Lock.take(tmp_path / "lock").release()
    child.communicate()

    assert child.returncode == 0


def test_bytes_that_are_kept_never_replace_others(tmp_path: Path) -> None:
    places = Places(tmp_path / "out.jsonl", tmp_path)
    first = places.aside("torn")
    first.write_text("x")

    assert places.aside("torn") != first


def test_a_file_is_replaced_whole_and_privately(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    replace_durably(path, b"old")
    replace_durably(path, b"new")

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["status.json"]


def test_errors_of_the_system_name_operation_and_file(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageFailed, match=r"cannot write .*nowhere.*No such file"),
        storage_errors("cannot write", tmp_path / "nowhere"),
    ):
        (tmp_path / "nowhere" / "x").write_text("x")


def test_short_writes_are_continued() -> None:
    reading, writing = os.pipe()
    content = bytes(range(256)) * 100
    os.set_blocking(writing, True)
    with os.fdopen(reading, "rb") as end:
        write_all(writing, content[:40_000])
        os.close(writing)

        assert end.read() == content[:40_000]
