"""The clients that are compared, each as a command in a process of its own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.benchmarks.process import Cost, FailedError, measure
from tests.benchmarks.rounds import Client
from tests.benchmarks.workloads import CHAT_MODEL, CONCURRENCY, Workload

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent


def environ(folder: Path) -> dict[str, str]:
    """Return the environment of a user who has nothing but `folder`."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(folder), "PIPELINE_STATE": str(folder / "usage"), "PYTHONPATH": str(_ROOT)}


def forget(folder: Path) -> None:
    """Remove the output of an earlier run and its state."""
    for name in ("out.jsonl", "out.jsonl.partial", "out.jsonl.errors.jsonl", "peer.jsonl"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "out.jsonl.state", ignore_errors=True)


def pipeline_command(*arguments: str) -> list[str]:
    """Return the command of `pipeline …`."""
    return [sys.executable, "-m", "pipeline", *arguments]


def ours(folder: Path, workload: Workload) -> Client:
    """Run our own command on `folder/run.yaml`, from nothing, and see that every record has its line."""

    def run() -> Cost:
        forget(folder)
        cost = measure(pipeline_command("run", "run.yaml", "-q"), folder, environ(folder))
        _expect_lines(folder / "out.jsonl", workload.rows)
        return cost

    return run


def raw(folder: Path, url: str, workload: Workload) -> Client:
    """Run the bare loop; embeddings as floats unless the workload says otherwise."""
    kind = "embeddings-base64" if workload.kind == "embeddings" and workload.encoding == "base64" else workload.kind
    flags = [url, str(folder / "in.jsonl"), kind, str(CONCURRENCY), str(workload.packed)]
    command = [sys.executable, str(_HERE / "raw_loop.py"), *flags]
    return lambda: measure(command, folder, environ(folder))


def script(python: Path, name: str, folder: Path, *arguments: str) -> Client:
    """Run one of the scripts in `peers/` with the interpreter of its own environment."""
    command = [str(python), str(_HERE / "peers" / f"{name}.py"), *arguments]
    return lambda: measure(command, folder, environ(folder))


def flexllm(program: Path, folder: Path, url: str, rows: int) -> Client:
    """Run flexllm's own command, which writes its answers as they arrive."""
    flags = ["-c", str(CONCURRENCY), "-m", CHAT_MODEL, "--base-url", url, "--api-key", "none", "--max-tokens", "200"]
    command = [str(program), "batch", "in.jsonl", "-o", "peer.jsonl", "-uf", "prompt", "--save-input", "false", *flags]

    def run() -> Cost:
        forget(folder)
        cost = measure(command, folder, environ(folder))
        _expect_lines(folder / "peer.jsonl", rows)
        return cost

    return run


def _expect_lines(path: Path, lines: int) -> None:
    with path.open("rb") as file:
        found = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    if found != lines:
        raise FailedError(f"{path.name} has {found} lines, not {lines}")
