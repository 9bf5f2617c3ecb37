"""The compiled server: built once into a folder, started on the other core."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.benchmarks.process import SERVER_CORE, pinned

_SOURCE = Path(__file__).with_name("server.c")


def build(folder: Path) -> Path:
    """Compile the server into `folder` and return its path."""
    program = folder / "benchmark-server"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(_SOURCE)], check=True)
    return program


class Server:
    """A running server; a context manager. Flags are those of `server.c`, with underscores.

    Attributes:
        url: The base URL.
        cpu: Seconds of CPU that it took; set on exit.
        served: Requests that it answered; set on exit.
    """

    def __init__(self, program: Path, **flags: float) -> None:
        self._command = [str(program)]
        for name, value in flags.items():
            self._command += [f"--{name.replace('_', '-')}", str(value)]
        self.cpu = 0.0
        self.served = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(pinned(self._command, SERVER_CORE), stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self._line()}/v1"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        rest, _ = self._process.communicate()
        words = rest.split()
        if "served" in words:
            self.served, self.cpu = int(words[-3]), float(words[-1])

    def first_request(self) -> float:
        """Return when the first request arrived, on the monotonic clock; waits for it. Asked once."""
        return float(self._line().split()[-1])

    def _line(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("the server has no stdout")
        return self._process.stdout.readline().strip()
