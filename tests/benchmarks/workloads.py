"""What is sent: inputs, and the configs under which we send them."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.types import Json

CONCURRENCY = 256
PACKED = 20
CHAT_MODEL, EMBEDDING_MODEL = "simulator-text-1", "simulator-hashing-256"
_PROSE = "The parcel was handed to the carrier on Monday and has not arrived; the customer asks where it is now. "


class Workload(NamedTuple):
    """Rows of one kind."""

    kind: str
    """`chat` or `embeddings`."""
    rows: int
    vectors: str = "floats"
    """How vectors are written to the output: floats or base64."""
    encoding: str = "base64"
    """How a client that may choose asks for them on the wire: base64 or float."""
    packed: int = PACKED


def write_input(path: Path, kind: str, rows: int) -> Path:
    """Write `rows` records: for chat about 450 bytes each, else about 150."""
    with path.open("wb", buffering=1 << 20) as file:
        for number in range(rows):
            file.write(orjson.dumps(_record(kind, number), option=orjson.OPT_APPEND_NEWLINE))
    return path


def _record(kind: str, number: int) -> Json:
    salt = md5(str(number).encode(), usedforsecurity=False).hexdigest()
    if kind == "chat":
        return {"id": f"row-{number}", "prompt": f"{salt} {_PROSE * 4}"[:415]}
    return {"id": f"row-{number}", "text": f"{salt[:8]} {_PROSE}"}


def write_config(folder: Path, url: str, workload: Workload, **more: Json) -> Path:
    """Write the config of a run with everything on, and its endpoint; the limits are there and never reached."""
    endpoint = {"base_url": url, "provider": "simulator"}
    (folder / "endpoints.yaml").write_bytes(orjson.dumps({"measured": endpoint}))
    keys: dict[str, Json] = {
        "input": {"path": "in.jsonl", "id": "id"},
        "output": {"path": "out.jsonl", "order": "done"},
        "endpoint": "measured",
        "limits": {"rpm": 10_000_000, "tpm": 1_000_000_000, "concurrency": CONCURRENCY},
    }
    if workload.kind == "chat":
        keys |= {"job": "chat", "model": CHAT_MODEL, "prompt": "{{ prompt }}", "max_output_tokens": 200}
    else:
        keys |= {"job": "embeddings", "model": EMBEDDING_MODEL, "text": "{{ text }}", "vectors": workload.vectors}
        keys |= {"batch": {"max_items": workload.packed}}
    path = folder / "run.yaml"
    path.write_bytes(orjson.dumps(_merged(keys, more), option=orjson.OPT_INDENT_2))
    return path


def _merged(keys: dict[str, Json], more: dict[str, Json]) -> dict[str, Json]:
    return {
        **keys,
        **{name: {**keys.get(name, {}), **value} if isinstance(value, dict) else value for name, value in more.items()},
    }
