"""What earlier runs of an output have settled, for whoever only wants to know."""

from __future__ import annotations

import shutil
import tempfile
from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple

from pipeline.earlier import Where
from pipeline.errors import JobStopped
from pipeline.storage.bitmap import Bitmap
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import Chunk
from pipeline.storage.source import BLOCK, Source
from pipeline.storage.state import Places


class Progress(NamedTuple):
    """How far an output is."""

    chunks: list[Chunk]
    """What has been read of the input, contiguous from 0."""
    done: Bitmap
    spent_nusd: int
    unknown_nusd: int

    def complete(self, number: int) -> bool:
        """Whether every record of a chunk is settled."""
        chunk = self.chunks[number]
        return self.done.count(number) == chunk.lines - chunk.blank

    def settled_at(self, start: int, source: Source) -> bool:
        """Whether the line is settled that begins at the byte `start` of a plain file.

        Raises:
            StorageFailed: The file cannot be read.
        """
        number = bisect_right(self.chunks, start, key=lambda chunk: chunk.start) - 1
        if number < 0 or start >= self.chunks[number].end or not self.done.count(number):
            return False
        chunk = self.chunks[number]
        lines = sum(source.read_at(at, min(BLOCK, start - at)).count(b"\n") for at in range(chunk.start, start, BLOCK))
        return chunk.first_line + lines in self.done


NONE = Progress([], Bitmap(), 0, 0)


def read_progress(places: Places, retry: Where | None = None) -> Progress | None:
    """Return what is settled; None where the ledger cannot be read, because it is damaged or a run is writing to it.

    Dead letters that `retry` means are not settled: they are sent again.

    A copy is read, in the state directory: a reader of the file itself could keep a run that is just starting from it.
    """
    try:
        if not places.ledger.exists():
            return NONE
        with tempfile.TemporaryDirectory(prefix="reading-", dir=places.state) as folder:
            copy = Path(folder, places.ledger.name)
            for ending in ("-wal", ""):
                original = places.ledger.with_name(places.ledger.name + ending)
                if original.exists():
                    shutil.copy(original, copy.with_name(copy.name + ending))
            return _read(copy, retry)
    except (JobStopped, OSError):
        return None


def _read(path: Path, retry: Where | None) -> Progress:
    ledger = Ledger.open(path)
    try:
        chunks = [ledger.chunks[number] for number in sorted(ledger.chunks)]
        if retry is not None:
            for code, line, custom_id, _ in ledger.failures():
                if retry.means(line, code, custom_id):
                    ledger.done.clear(line)
        return Progress(chunks, ledger.done, ledger.budget.spent, ledger.budget.unknown)
    finally:
        ledger.close()
