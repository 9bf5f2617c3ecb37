"""The joblog: a line for every attempt, in the columns that GNU parallel's --joblog has.

    Seq         number of the attempt, unique in its output over all runs
    Host        where it was sent
    Starttime   seconds since the epoch
    JobRuntime  seconds until it was answered or had failed
    Send        bytes of the request's body
    Receive     bytes of the answer's body; 0 where it failed
    Exitval     0 for a valid answer, else the HTTP status, or 1 where there was none
    Signal      always 0
    Command     path, model, first and last line of its records, how many these are, and the code of an error

A line for each record would be as long as the output and say the same time twenty times over; the range of lines
finds the request of a record.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.identity import attempt_number
from pipeline.events import Exchange
from pipeline.observers.log import printable
from pipeline.storage.line_file import LineFile

HEADER = b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"


class JobLog:
    """Writes exchanges to a file, in groups. A file that is there goes on."""

    def __init__(self, file: LineFile, host: str) -> None:
        self._file = file
        self._host = host

    def write(self, exchanges: Sequence[Exchange]) -> None:
        """Append a line for each. Raises OSError where the disk refuses."""
        self._file.append([self._line(exchange) for exchange in exchanges])

    def _line(self, seen: Exchange) -> bytes:
        times = f"{seen.began:.3f}\t{seen.seconds:10.3f}"
        sizes = f"{seen.sent}\t{seen.received}"
        number, ended = attempt_number(seen.attempt), f"{_exit_value(seen)}\t0"
        row = f"{number}\t{self._host}\t{times}\t{sizes}\t{ended}\t{_command(seen)}\n"
        return row.encode("utf-8", "backslashreplace")


def _exit_value(seen: Exchange) -> int:
    if seen.error is None:
        return 0
    return seen.status if seen.status is not None and seen.status >= 400 else 1


def _command(seen: Exchange) -> str:
    words = f"POST {seen.path} {seen.model} lines {seen.first_line}-{seen.last_line} records {seen.items}"
    return printable(words if seen.error is None else f"{words} {seen.error} {seen.code}")
