"""What became of records, as programs see it: results and dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import orjson

from pipeline import types
from pipeline.api.configs import ConfigLike, Keys, load
from pipeline.assembly import places_of
from pipeline.core.identity import line_identity
from pipeline.core.lines import RESERVED_FIELDS
from pipeline.errors import StateMismatch, StorageFailed
from pipeline.storage.bitmap import Bitmap
from pipeline.storage.compression import inflated
from pipeline.storage.lines import DamagedError
from pipeline.storage.records import Records
from pipeline.storage.recovery import usage_in
from pipeline.types import Json, Usage


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a record."""

    line: int
    """The line of the input, from 1."""
    custom_id: str
    answer: Mapping[str, Json] = field(repr=False)
    """What the result line says: the job's fields (`embedding`, `text`, `message` …) and those that `output.keep`
    repeats. Of a Batch line, the body of its response."""
    model: str
    usage: Usage
    """The record's share of its request's."""
    cost_nusd: int
    attempt: str
    """The attempt that brought it; sent as `X-Client-Request-Id`."""
    _records: Records = field(repr=False, compare=False)

    @property
    def cost_usd(self) -> float:
        """`cost_nusd` in US dollars."""
        return self.cost_nusd / 1e9

    @property
    def record(self) -> Mapping[str, Json]:
        """The record itself, read from the input again.

        Raises:
            UsageError: The input was changed, is compressed, or can be read once only.
        """
        return self._records.find(self.line, self.custom_id)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record given up on, with the reason."""

    line: int
    """The line of the input, from 1."""
    custom_id: str
    code: str
    message: str
    attempts: int
    first_at: float | None
    """When the first attempt began, in seconds since the epoch; None where none was made."""
    last_at: float | None
    record: Mapping[str, Json] | str = field(repr=False)
    """The record, or the line as it was read where it is none."""


Outcome = Result | DeadLetter


def outcomes(config: ConfigLike, /, **keys: Unpack[Keys]) -> Iterator[Outcome]:
    """Yield what earlier runs of a config have left, results first. Sends nothing.

    While another process runs it, and after one was killed, dead letters are those that were written down last.

    Raises:
        UsageError: The config is refused.
        StateMismatch: A line of the output is none of ours.
    """
    loaded = load(config, **keys)
    places = places_of(loaded)
    records = Records(loaded.config.input.path, loaded.config.input.id)
    answered = Bitmap()
    for number, raw in _lines(places.partial if places.partial.exists() else places.output):
        result = _checked(raw, records, f"{places.output}:{number}")
        if result.line in answered:
            raise StateMismatch(f"{places.output}:{number} answers line {result.line} of the input a second time")
        answered.set(result.line)
        yield result
    for _, raw in _lines(places.errors):
        letter = DeadLetter(**orjson.loads(raw))
        if letter.line not in answered:
            yield letter


def result_of(raw: bytes, records: Records) -> Result:
    """Return what a result line says. Raises ValueError where it is none of ours."""
    identity = line_identity(raw)
    if identity is None:
        raise ValueError("the line is not an answer of this program")
    line: Json = orjson.loads(raw)
    templated = "attempt" in line
    block = line if templated else line["response"]["body"]
    return Result(
        line=identity.line,
        custom_id=line["custom_id"],
        answer={name: value for name, value in line.items() if name not in RESERVED_FIELDS} if templated else block,
        model=block["model"],
        usage=usage_in(block) or Usage(),
        cost_nusd=identity.cost_nusd,
        attempt=f"{identity.ledger}-{identity.attempt}",
        _records=records,
    )


def dead_letter_of(letter: types.DeadLetter) -> DeadLetter:
    """Return a dead letter as programs see it."""
    try:
        record: Json = orjson.loads(letter.record)
    except orjson.JSONDecodeError:
        record = letter.record.decode("utf-8", "replace")
    return DeadLetter(*letter[:-1], record)


def _checked(raw: bytes, records: Records, place: str) -> Result:
    try:
        return result_of(raw, records)
    except (ValueError, KeyError, TypeError) as error:
        raise StateMismatch(f"{place} is damaged: it is no answer of this program; put it back") from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file, decompressed, numbered from 1; none where there is no file."""
    try:
        with inflated(path) as file:
            yield from ((number, raw) for number, raw in enumerate(file, 1) if raw.endswith(b"\n"))
    except FileNotFoundError:
        return
    except (OSError, DamagedError) as error:
        raise StorageFailed(f"cannot read {path}: {error}") from error
