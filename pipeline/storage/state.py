"""The state directory of one output: its place, its permissions and its lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import Locked, StorageFailed, UsageError

_POLL_SECONDS = 0.1
_GLANCES = 20
"""Tries to take a lock that nobody but processes which look at it has: each has it for microseconds."""
_GLANCE_SECONDS = 0.005
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def storage_errors(what: str, path: Path) -> Iterator[None]:
    """Translate an OSError into StorageFailed that names the operation and the file."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"{what} {path}: {error.strerror or error}; nothing more was sent, run again to resume"
        ) from error


@contextlib.contextmanager
def creation_errors(path: Path) -> Iterator[None]:
    """Translate an OSError at the start of a run: a place that may not be written to is the user's to change."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise
    except OSError as error:
        if error.errno in _FORBIDDEN:
            raise UsageError(
                f"{path} cannot be created: {error.strerror}; choose another place with -o or --state"
            ) from error
        raise StorageFailed(f"cannot create {path}: {error.strerror or error}; nothing was sent") from error


@dataclass(frozen=True, slots=True)
class Places:
    """Where one output and its state live."""

    output: Path
    state: Path

    @property
    def partial(self) -> Path:
        return self.output.with_name(self.output.name + ".partial")

    @property
    def ordered(self) -> Path:
        return self.output.with_name(self.output.name + ".ordered")

    @property
    def errors(self) -> Path:
        return self.output.with_name(self.output.name + ".errors.jsonl")

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.db"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def status(self) -> Path:
        return self.state / "status.json"

    @property
    def summary(self) -> Path:
        return self.state / "run.json"

    @property
    def history(self) -> Path:
        return self.state / "history.json"

    @property
    def rows(self) -> Path:
        """The input of a run of a program's own rows."""
        return self.state / "input.jsonl"

    @property
    def files(self) -> Path:
        """The list of the input's files, where it is several."""
        return self.state / "files.json"

    @property
    def old_errors(self) -> Path:
        """Dead letters that were retried with success, one Zstandard frame for each time."""
        return self.state / "errors-old.jsonl.zst"

    def is_reserved(self, name: str) -> bool:
        """Whether a file of that name in the state directory is one that a run keeps there."""
        kept = (self.lock, self.status, self.summary, self.history, self.files, self.old_errors, self.rows)
        return name.startswith(self.ledger.name) or name in {path.name for path in kept}

    def aside(self, name: str) -> Path:
        """A path in the state directory that does not exist yet, for bytes that are kept."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        for number in range(10_000):
            path = self.state / f"{name}-{stamp}-{number}"
            if not os.path.lexists(path):
                return path
        raise StorageFailed(f"{self.state} holds too many files named {name}-{stamp}-*: move some away")


def default_state(output: Path) -> Path:
    """The state directory beside an output."""
    return output.with_name(output.name + ".state")


def make_private(directory: Path) -> None:
    """Create `directory` with mode 0700, or check that it is ours.

    Raises:
        UsageError: It is a symbolic link, no directory, or belongs to somebody else.
        StorageFailed: It cannot be created.
    """
    try:
        with creation_errors(directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            seen = directory.lstat()
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(
            f"{directory} is in the way: it must be a directory of ours; choose another with --state"
        ) from error
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
        raise UsageError(
            f"{directory} must be a directory that belongs to you, not a link; choose another with --state"
        )
    if seen.st_mode & 0o077:
        directory.chmod(0o700)


def is_private(seen: os.stat_result) -> bool:
    """Whether what was seen is a plain file that nobody but us may read or write."""
    return stat.S_ISREG(seen.st_mode) and seen.st_uid == os.geteuid() and not seen.st_mode & 0o077


class Lock:
    """An flock on the state directory; it goes with the process, so a stale file never blocks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, wait: float = 0.0, sleep: Callable[[float], None] = time.sleep) -> Lock:
        """Take the lock, waiting at most `wait` seconds.

        Raises:
            Locked: Another process holds it; the message names its pid and since when.
        """
        with storage_errors("cannot open", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        remaining, glances = wait, _GLANCES
        while not try_lock(descriptor):
            if glances and is_only_looked_at(descriptor):
                sleep(_GLANCE_SECONDS)
                glances -= 1
                continue
            if remaining <= 0:
                holder = os.pread(descriptor, 200, 0).decode("ascii", "replace").strip()
                os.close(descriptor)
                raise Locked(f"another run has {path}: held by {holder or 'a process that is just starting'}")
            sleep(min(_POLL_SECONDS, remaining))
            remaining -= _POLL_SECONDS
        since = datetime.now(UTC).isoformat(timespec="seconds")
        with storage_errors("cannot write", path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()} since {since}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


def try_lock(descriptor: int) -> bool:
    """Take an exclusive flock if nobody else has it; whether it was taken."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_only_looked_at(descriptor: int) -> bool:
    """Whether an flock that could not be taken is shared by processes that see whether anybody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def lock_holder(path: Path) -> str | None:
    """Return who holds a lock, or None where nobody does. Tries it, shared, for no longer than the look."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 200, 0).decode("ascii", "replace").strip() or "a process that is just starting"
    else:
        return None
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    with storage_errors("cannot sync", directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_durably(path: Path, content: bytes) -> None:
    """Write `content` to `path` (0600) so that a reader sees the old bytes or the new, and never a part."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with storage_errors("cannot write", path):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
    sync_directory(path.parent)


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte, however short the single writes are."""
    view = memoryview(content)
    while view:
        written = os.write(descriptor, view)
        if written <= 0:
            raise OSError(5, "the system wrote nothing")
        view = view[written:]
