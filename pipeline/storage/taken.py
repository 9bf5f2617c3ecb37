"""What the runs of a job have taken of a folder of files, so that each file is taken once, whatever dies when.

A run first writes down that it has begun, by the moment that names its output; only when its output is complete are
its files added to those that are taken, in the same write that ends it. A run that died in between is therefore found
by the next one, which goes on with that output instead of beginning its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import StateMismatch
from pipeline.storage.file_list import read_json, read_list, write_list
from pipeline.storage.several import Stretch


class Taken:
    """The memory in `folder`. Whoever changes it holds the lock.

    Attributes:
        files: All that complete runs have taken.
        begun: The moment of a run that began and is not complete, as `now` takes it.
        last: The moment of the last complete run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        said = read_json(self._path)
        self.files = read_list(self._path)
        self.begun: str | None = said.get("begun")
        self.last: str | None = said.get("last")

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def _path(self) -> Path:
        return self.folder / "files.json"

    def begin(self, moment: str) -> None:
        """Write down, durably, that a run begins or goes on.

        Raises:
            StateMismatch: Another one has begun and is not complete.
            StorageFailed: The disk refused.
        """
        if self.begun not in {None, moment}:
            raise StateMismatch(
                f"the run of {self.begun} is not complete, and what it took is not to be taken twice: "
                f"run it first, with --date {self.begun}"
            )
        if self.begun is None:
            self.begun = moment
            self._write()

    def complete(self, stretches: Sequence[Stretch]) -> None:
        """Add what the run that has begun took, and end it, in one durable write.

        Raises:
            StorageFailed: The disk refused.
        """
        ours = {(stretch.name, stretch.start) for stretch in stretches}
        self.files = [stretch for stretch in self.files if (stretch.name, stretch.start) not in ours] + list(stretches)
        self.begun, self.last = None, self.begun
        self._write()

    def _write(self) -> None:
        write_list(self._path, self.files, begun=self.begun, last=self.last)
