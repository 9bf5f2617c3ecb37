"""`-o -`: the output is finished in the state directory, as any other, and copied to stdout then."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.streams import unbroken
from pipeline.errors import StorageFailed, UsageError

if TYPE_CHECKING:
    from pipeline.config import Loaded


def wants_stdout(loaded: Loaded) -> bool:
    """Return whether the results are for stdout.

    Raises:
        UsageError: They are, and it is closed.
    """
    wanted = loaded.config.output.path == "-"
    if wanted and sys.stdout is None:
        raise UsageError("the output is stdout, which is closed")
    return wanted


def copy_to_stdout(output: Path) -> None:
    """Write a finished output to stdout; a reader that goes away has had enough.

    Raises:
        StorageFailed: The output cannot be read, or stdout not be written to.
    """
    try:
        file = output.open("rb")
    except OSError as error:
        raise StorageFailed(f"cannot read {output}: {error.strerror}") from error
    with file, unbroken(sys.stdout):
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
