"""The file that node_exporter's textfile collector reads: replaced as a whole, with what outlives a run."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.storage.state import write_all

_MOST_BYTES = 1 << 20
_OUTLIVES = "pipeline_last_"
"""Families by which a run is remembered until the next one has ended."""


class MetricsFile:
    """Replaces the file at `path`; a family that outlives its run stays until there is a new one.

    The file is readable by all (0644): the collector runs as another user, and it holds numbers and names only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, list[str]] | None = None
        """Lines of the families that outlive a run; None before the file was looked at."""

    def write(self, texts: Sequence[str]) -> None:
        """Show the last of `texts`. Raises OSError where the disk refuses."""
        if self._kept is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._kept = _outliving(self._read())
        self._kept |= _outliving(texts[-1])
        fresh = [line for line in texts[-1].splitlines(keepends=True) if not _family(line).startswith(_OUTLIVES)]
        kept = [line for lines in self._kept.values() for line in lines]
        self._replace("".join([*fresh, *kept]).encode())

    def _read(self) -> str:
        """What an earlier run left. A file that holds anything else is not touched."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_MOST_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        if text and not text.startswith("# HELP pipeline_"):
            raise FileExistsError(errno.EEXIST, "it holds something other than metrics of pipeline")
        return text

    def _replace(self, content: bytes) -> None:
        # The collector takes files that end in .prom: a draft must not.
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(descriptor, content)
            os.fchmod(descriptor, 0o644)
        finally:
            os.close(descriptor)
        draft.replace(self._path)


def _outliving(text: str) -> dict[str, list[str]]:
    """The lines of the families that outlive a run, by family."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines(keepends=True):
        if _family(line).startswith(_OUTLIVES):
            found.setdefault(_family(line), []).append(line)
    return found


def _family(line: str) -> str:
    """The name that a line of the format is about."""
    words = line.split(maxsplit=3)
    if len(words) > 2 and words[0] == "#":
        return words[2]
    return line.partition("{")[0]
