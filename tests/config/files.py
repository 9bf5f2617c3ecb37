"""Configs for tests: a minimal one that loads, and what a refusal says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.config import Loaded, load
from pipeline.errors import UsageError
from pipeline.types import Json

MINIMAL = """\
job: embeddings
input: {path: in.jsonl}
output: {path: out.jsonl}
endpoint: simulator
"""


def config_file(folder: Path, more: str = "", name: str = "run.yaml") -> Path:
    """Write MINIMAL with `more` below it, from line 5."""
    path = folder / name
    path.write_text(MINIMAL + more, encoding="utf-8")
    return path


def loaded(
    folder: Path, more: str = "", flags: Mapping[str, Json] | None = None, environ: Mapping[str, str] | None = None
) -> Loaded:
    return load(config_file(folder, more), flags or {}, environ or {})


def refused(
    folder: Path, more: str = "", flags: Mapping[str, Json] | None = None, environ: Mapping[str, str] | None = None
) -> list[str]:
    """The lines of the refusal, without the folder."""
    with pytest.raises(UsageError) as caught:
        loaded(folder, more, flags, environ)
    assert caught.value.exit_code == 2
    return caught.value.message.replace(f"{folder}/", "").splitlines()
