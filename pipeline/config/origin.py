"""Where a value came from, and errors that say so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UsageError

Loc = tuple[str | int, ...]
"""The way to a value: keys of mappings and indexes of lists, from the outside in."""


class Origin(NamedTuple):
    """Where a value came from: a file and its line (from 1), a variable, the command line, or the default."""

    where: str
    line: int | None = None

    def __str__(self) -> str:
        return self.where if self.line is None else f"{self.where}:{self.line}"


DEFAULT = Origin("default")
COMMAND_LINE = Origin("command line")


class Problem(NamedTuple):
    """One thing that is wrong, in words that show no value."""

    origin: Origin
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.key}: {self.text}"


def dotted(loc: Loc) -> str:
    """Return a place as users write it: `limits.rpm`."""
    return ".".join(map(str, loc))


def refusal(problems: Iterable[Problem]) -> UsageError:
    """Return one error that names all `problems`, a line each: file by file in the order of their lines."""
    found = list(problems)
    places = {problem.origin.where: index for index, problem in reversed(list(enumerate(found)))}

    def order(problem: Problem) -> tuple[bool, int, int]:
        return problem.origin.line is None, places[problem.origin.where], problem.origin.line or 0

    return UsageError("\n".join(map(str, sorted(found, key=order))), code="invalid_config")


def unreadable(path: Path, problem: str) -> UsageError:
    """Return the error for a file that cannot be read at all."""
    return UsageError(f"{path}: {problem}", code="invalid_config")
