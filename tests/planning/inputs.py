"""Configs with inputs to plan for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from pipeline.config import Loaded, load
from pipeline.types import Json
from tests.acceptance.command import write_config

EMBEDDINGS: Mapping[str, Json] = {"job": "embeddings", "model": "text-embedding-3-small", "text": "{{ text }}"}
CHAT: Mapping[str, Json] = {
    "job": "chat",
    "model": "gpt-5.6-luna",
    "prompt": "{{ text }}",
    "max_output_tokens": 100,
}


def config(folder: Path, lines: Sequence[Json | bytes], keys: Mapping[str, Json], **more: Json) -> Loaded:
    """Write an input, of which bytes are lines as they are, and a config, and load it."""
    path = folder / "in.jsonl"
    path.write_bytes(b"".join((line if isinstance(line, bytes) else orjson.dumps(line)) + b"\n" for line in lines))
    files = {"input": {"path": str(path)}, "output": {"path": str(folder / "out.jsonl")}}
    return load(write_config(folder, "c", **{"endpoint": "openai", **files, **keys, **more}), {}, {})


def texts(*values: str) -> list[Json]:
    return [{"text": value} for value in values]
