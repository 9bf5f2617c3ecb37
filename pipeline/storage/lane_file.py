"""One lane's limits in a file that all runs of a user on this machine map into memory.

Beside it lies an empty file for each run that takes part, locked for as long as the run lives: a run that was killed is
recognised by a lock that is free. The file itself is locked around each change. What it holds counts only while a run
takes part, so times in it are always of the present boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import time
from pathlib import Path

from pipeline.core.bucket import BucketState
from pipeline.core.fairness import Member
from pipeline.core.lane import LaneState
from pipeline.storage.state import is_private, try_lock, write_all

RUNS = 16
"""The most runs that share one lane."""
_COUNT, _PUBLISHED = 0, 1
_BUCKET = len(BucketState._fields)
_STATE = struct.Struct(f"={2 * _BUCKET + len(LaneState._fields) - 2}d")
_STATE_AT = 16
_MEMBER = struct.Struct("=2d")
_MEMBERS_AT = 512
_SIZE = _MEMBERS_AT + RUNS * _MEMBER.size
_PAUSE = 0.0002
"""Seconds between two tries for the lock, which is held for microseconds."""
_MOST_WAIT = 0.25
"""Seconds after which whoever holds the lock has been stopped."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class LaneFile:
    """The file, with a place in it for this run. Every method but `count` belongs between `lock` and `unlock`.

    Raises:
        OSError: The file cannot be made, mapped or locked, is not ours, or `RUNS` runs take part already.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor, self._map = _open_locked(path)
        self._own: int | None = None
        try:
            self._place = self._take_place()
            self._map[self._at(self._place)] = _MEMBER.pack(0.0, 0.0)
            self.found_empty = self.recount() == 1
            """Whether no other run took part when this one came."""
            if self.found_empty:
                self.withdraw()
        except BaseException:
            self.close()
            raise
        self.unlock()

    @property
    def count(self) -> int:
        """How many runs take part, as was last seen by any of them."""
        return self._map[_COUNT]

    def lock(self) -> None:
        """Keep the others out until `unlock`.

        Raises:
            TimeoutError: Somebody holds the lock and does not go on.
        """
        _lock(self._descriptor)

    def unlock(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def recount(self) -> int:
        """Count the runs that are alive, and clear away what killed ones left behind."""
        count = 1 + sum(self._is_alive(place) for place in range(RUNS) if place != self._place)
        self._map[_COUNT] = count
        return count

    def read(self) -> LaneState | None:
        """Return the state that the runs share; None where they share none as yet."""
        if not self._map[_PUBLISHED]:
            return None
        values = _STATE.unpack_from(self._map, _STATE_AT)
        requests, tokens = BucketState(*values[:_BUCKET]), BucketState(*values[_BUCKET : 2 * _BUCKET])
        return LaneState(requests, tokens, *values[2 * _BUCKET :])

    def write(self, state: LaneState) -> None:
        """Make `state` the one that the runs share."""
        # One copy: a process that dies under way leaves some numbers of the change before.
        requests, tokens, *others = state
        self._map[_STATE_AT : _STATE_AT + _STATE.size] = _STATE.pack(*requests, *tokens, *others)
        self._map[_PUBLISHED] = 1

    def withdraw(self) -> None:
        """Share no state any more: this run is alone with it."""
        self._map[_PUBLISHED] = 0

    def others(self) -> list[Member]:
        """Return what the other runs say of themselves; a place that nobody has says that nobody waits."""
        members = [Member(*pair) for pair in _MEMBER.iter_unpack(self._map[_MEMBERS_AT:_SIZE])]
        del members[self._place]
        return members

    def say(self, member: Member) -> None:
        """Tell the others about this run."""
        self._map[self._at(self._place)] = _MEMBER.pack(*member)

    def close(self) -> None:
        """Take part no more; the last one removes the files. May be called without the lock, and again."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            _lock(self._descriptor)
            if self._own is not None:
                self._leave()
        if self._own is not None:
            os.close(self._own)
        # The mapping keeps the file open, and with it the lock.
        self.unlock()
        self._map.close()
        os.close(self._descriptor)
        self._descriptor, self._own = -1, None

    def _leave(self) -> None:
        self._map[self._at(self._place)] = _MEMBER.pack(0.0, 0.0)
        self._place_path(self._place).unlink(missing_ok=True)
        self._map[_COUNT] = count = self.recount() - 1
        if count == 0:
            self._path.unlink(missing_ok=True)

    def _take_place(self) -> int:
        for place in range(RUNS):
            descriptor = os.open(self._place_path(place), _FLAGS, 0o600)
            if try_lock(descriptor):
                self._own = descriptor
                return place
            os.close(descriptor)
        raise OSError(f"{RUNS} runs share {self._path} already")

    def _is_alive(self, place: int) -> bool:
        path = self._place_path(place)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            if not try_lock(descriptor):
                return True
            with contextlib.suppress(OSError):
                path.unlink()
        finally:
            os.close(descriptor)
        self._map[self._at(place)] = _MEMBER.pack(0.0, 0.0)
        return False

    def _place_path(self, place: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{place}")

    @staticmethod
    def _at(place: int) -> slice:
        start = _MEMBERS_AT + place * _MEMBER.size
        return slice(start, start + _MEMBER.size)


def _open_locked(path: Path) -> tuple[int, mmap.mmap]:
    """Open, lock and map the file at `path`; another one than the last run has just removed."""
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            _lock(descriptor)
            seen = os.fstat(descriptor)
            if not is_private(seen):
                raise PermissionError(f"{path} must be a file that only you can read")
            if seen.st_nlink:
                if seen.st_size < _SIZE:
                    write_all(descriptor, bytes(_SIZE))
                return descriptor, mmap.mmap(descriptor, _SIZE)
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if try_lock(descriptor):
        return
    give_up = time.monotonic() + _MOST_WAIT
    while not try_lock(descriptor):
        if time.monotonic() > give_up:
            raise TimeoutError("whoever holds the lock does not go on")
        time.sleep(_PAUSE)
