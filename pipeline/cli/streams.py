"""The standard streams. Their reader may go away at any time: that changes no result and no exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click

from pipeline.errors import StorageFailed, UsageError

STDOUT = 1


def fill_closed_descriptors() -> None:
    """Put /dev/null where a standard stream is closed: otherwise a file of ours gets its number, and its output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        # Otherwise click takes stdout, which is for data. A closed stdout stays None: `-o -` must not lose its data.
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process


def wants_stdout(output: str) -> bool:
    """Return whether the results are for stdout.

    Raises:
        UsageError: They are, and it is closed.
    """
    if output == "-" and sys.stdout is None:
        raise UsageError("the output is stdout, which is closed")
    return output == "-"


def say(text: str, *, err: bool = True) -> None:
    """Write `text` and a newline to stderr, or to stdout. Where nobody listens any more, it is dropped."""
    with unbroken(sys.stderr if err else sys.stdout):
        click.echo(text, err=err)


@contextlib.contextmanager
def unbroken(stream: TextIO | None) -> Iterator[None]:
    """Drop what is written to `stream` once its reader is gone.

    Raises:
        StorageFailed: stdout leads to a disk that is full or broken: its data is lost.
    """
    try:
        yield
    except OSError as error:
        _silence(stream)
        if stream is sys.stdout and error.errno != errno.EPIPE:
            raise StorageFailed(f"cannot write to stdout: {error.strerror}") from error


def flush() -> None:
    """Write what the standard streams still hold. Raises StorageFailed as `unbroken` does."""
    for stream in (sys.stderr, sys.stdout):
        with unbroken(stream):
            if stream is not None:
                stream.flush()


def _silence(stream: TextIO | None) -> None:
    """Point a broken stream at /dev/null, so that the interpreter's own last flush finds no fault either."""
    if stream is not None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
