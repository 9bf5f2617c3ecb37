"""Errors as the user sees them: one line and an exit code. A bug shows where it is, and never a value."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType

import click

from pipeline.cli.streams import say, unbroken
from pipeline.errors import JobStopped, PipelineError
from pipeline.secret import redact_patterns

_BUG = 1
_USAGE = 2
_INTERRUPTED = 130
_REPORT = "this is a bug in pipeline: please report it with the lines above; they hold no key and no prompt"


def exit_code_of(command: Callable[[], object]) -> int:
    """Run `command`, print what stopped it, and return the exit code of the process."""
    try:
        result = command()
    except JobStopped as error:
        complain(error.message)
        return error.exit_code
    except PipelineError as error:
        complain(error.message)
        return _BUG
    except click.ClickException as error:
        with unbroken(sys.stderr):
            error.show()
        return _USAGE
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the boundary of the process: printed without values, exit 1
        say(redacted(error))
        complain(_REPORT)
        return _BUG
    return result if isinstance(result, int) else 0


def complain(message: str) -> None:
    """Write one line to stderr."""
    say(f"pipeline: {redact_patterns(message)}")


def redacted(error: BaseException) -> str:
    """Return a traceback that names files, lines and classes only: messages and values may hold prompts or keys."""
    lines = []
    seen: BaseException | None = error
    while seen is not None:
        lines.append("".join(["Traceback:\n", *traceback.format_tb(seen.__traceback__), _named(seen)]))
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n\nbecause of which:\n\n".join(reversed(lines))


def _named(error: BaseException) -> str:
    name = type(error).__qualname__
    if isinstance(error, PipelineError):
        return f"{name}: {redact_patterns(error.message)}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    if isinstance(error, ImportError):
        return f"{name}: {error.msg}"
    if isinstance(error, AttributeError | NameError):
        return f"{name}: {error.name}"
    return name


def install_hooks() -> None:
    """Let nothing print a value: neither an uncaught exception, nor a thread's, nor a library's log."""
    sys.excepthook = _uncaught
    threading.excepthook = lambda failed: _uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacting())
    logging.basicConfig(handlers=[handler], level=logging.ERROR)
    logging.raiseExceptions = False


def _uncaught(kind: type[BaseException], error: BaseException | None, _traceback: TracebackType | None) -> None:
    say(redacted(error) if error else kind.__qualname__)


class _Redacting(logging.Formatter):
    """Formats a library's log record without values: its first line, which names the event, and where it happened."""

    def format(self, record: logging.LogRecord) -> str:
        line = redact_patterns(f"{record.name}: {record.getMessage()}".partition("\n")[0])
        error = record.exc_info and record.exc_info[1]
        return f"{line}\n{redacted(error)}" if error else line
