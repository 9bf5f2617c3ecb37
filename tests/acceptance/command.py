"""Runs the real command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.types import Json


class Ended(NamedTuple):
    """A finished process."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Json]:
        """The `--json` summary on stdout."""
        found: dict[str, Json] = orjson.loads(self.out)
        return found


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a user who has nothing but a home."""
    passed_on = ("PATH", "LANG", "TMPDIR", "COVERAGE_PROCESS_START")
    kept = {name: os.environ[name] for name in passed_on if name in os.environ}
    return {**kept, "HOME": str(home), "PIPELINE_STATE": str(home / "usage"), **(extra or {})}


def start(arguments: Sequence[str], home: Path, extra: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `pipeline …` in `home`."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=home,
        env=environment(home, extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def pipeline(*arguments: str, home: Path, extra: Mapping[str, str] | None = None, seconds: float = 300) -> Ended:
    """Run `pipeline …` in `home` to its end."""
    process = start(arguments, home, extra)
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()
    return Ended(process.returncode, out.decode(), err.decode())


def write_config(home: Path, name: str, **keys: Json) -> Path:
    """Write a config; JSON is YAML."""
    path = home / f"{name}.yaml"
    path.write_bytes(orjson.dumps(keys, option=orjson.OPT_INDENT_2))
    return path


def write_endpoint(home: Path, name: str, base_url: str, **keys: Json) -> None:
    """Write `endpoints.yaml` beside the configs."""
    (home / "endpoints.yaml").write_bytes(orjson.dumps({name: {"base_url": base_url, **keys}}))


def write_records(path: Path, records: Sequence[Json]) -> Path:
    """Write a JSONL file."""
    path.write_bytes(b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records))
    return path


def read_lines(path: Path) -> list[dict[str, Json]]:
    """Read a JSONL file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]
