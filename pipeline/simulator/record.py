"""The simulator's own record of what it saw, served and billed, which tests compare with the client's.

A line is written before the answer is sent: a client that dies while it waits has been billed all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.simulator.billing import Tokens


class Entry(NamedTuple):
    """One request."""

    time: float
    """Seconds since the epoch, when it arrived."""
    path: str
    """Below the base URL, such as `/embeddings`."""
    request_id: str | None
    """The client's `X-Client-Request-Id`."""
    status: int
    """The status decided on, even where a fault kept the client from seeing it."""
    inputs: list[str]
    """`digest` of each input; of the one conversation in a chat."""
    model: str | None
    """The model that answered and is billed; None where nothing is billed."""
    tokens: Tokens
    """The tokens billed."""
    cost_nusd: int
    """Nano-USD billed."""
    fault: str | None
    """The fault that struck."""


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal, as it stands in the record."""
    return sha256(text.encode()).hexdigest()


class Record:
    """Takes entries, into a file that is only appended to, or into memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._memory: list[Entry] = []
        self._file: int | None = None
        self.billed_nusd = 0
        """The sum of what this simulator billed since it was made."""

    def write(self, entry: Entry) -> None:
        """Keep `entry`; in a file, it is there when this returns."""
        self.billed_nusd += entry.cost_nusd
        if self._path is None:
            self._memory.append(entry)
            return
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(self._file, orjson.dumps({**entry._asdict(), "tokens": entry.tokens._asdict()}) + b"\n")

    def entries(self) -> list[Entry]:
        """Return all entries, oldest first; with a file, those of earlier simulators too."""
        if self._path is None:
            return list(self._memory)
        return read_record(self._path) if self._path.exists() else []

    def close(self) -> None:
        """Close the file; another entry opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_record(path: Path) -> list[Entry]:
    """Return the entries of a record file, oldest first. A last line that is not whole yet is left out."""
    return parse_record(path.read_bytes())


def parse_record(content: bytes) -> list[Entry]:
    """Return the entries of what was read of a record file, up to the last whole line."""
    whole, _, _ = content.rpartition(b"\n")
    return [_entry(line) for line in whole.splitlines()]


def _entry(line: bytes) -> Entry:
    values = orjson.loads(line)
    values["tokens"] = Tokens(**values["tokens"])
    return Entry(**values)


def bill(record: Path | Iterable[Entry]) -> int:
    """Return the nano-USD billed in a record: a file, or entries."""
    return sum(entry.cost_nusd for entry in (read_record(record) if isinstance(record, Path) else record))
