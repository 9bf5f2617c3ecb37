"""Embeddings: one vector per record, up to 2,048 records in a request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
import pybase64
from numpy.typing import NDArray

from pipeline.errors import Rejected
from pipeline.job import (
    JobSpec,
    base_body,
    batch_line_body,
    batch_line_item,
    batch_lines_body,
    entries_by_index,
    input_count,
    is_batch_line,
    render_text,
    whole_number,
)
from pipeline.types import Item, Json, Record

Vector = NDArray[np.float32] | list[float]

_ALLOWED = frozenset({"model", "input", "encoding_format", "dimensions", "user"})


class Embeddings:
    """Template `text`; result field `embedding`: floats, or base64 of little-endian float32 as the config says.

    Vectors travel as base64, a third of the bytes of their decimals; a server that sends decimals nevertheless is
    understood. Every vector is checked to be finite, which for base64 costs its decoding: 1 µs for 1,000 dimensions.
    """

    path = "/embeddings"
    max_items = 2048

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._base = {"encoding_format": "base64", **base_body(spec)}

    def render(self, record: Record) -> Item:
        if is_batch_line(record.data):
            body = batch_line_body(record, self.path, _ALLOWED)
            whole_number(body, "dimensions", 0)
            return batch_line_item(self._spec, record, body, "input")
        text, tokens = render_text(self._spec, "text", record)
        return Item(record, text, tokens)

    def body(self, items: Sequence[Item]) -> Mapping[str, Json]:
        if items[0].group is not None:
            return batch_lines_body(items, "input")
        return {**self._base, "input": [item.content for item in items]}

    def split(self, items: Sequence[Item], body: Json) -> Sequence[Mapping[str, Json] | Rejected]:
        templated = items[0].group is None
        asked = whole_number(self._base if templated else items[0].content, "dimensions", 0)
        counts = [1 if templated else input_count(item.content["input"]) for item in items]
        entries = entries_by_index(body, "data", sum(counts))
        narrow = templated and self._spec.vectors == "base64"
        vectors = [read_vector(entry.get("embedding"), narrow=narrow) for entry in entries]
        length = asked or usual_length(vectors)
        if templated:
            pairs = zip(entries, vectors, strict=True)
            return [bad_vector((vector,), length, asked) or self._shown(entry, vector) for entry, vector in pairs]
        ends = list(accumulate(counts))
        parts = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        return [bad_vector(vectors[part], length, asked) or _answer(entries[part]) for part in parts]

    def fields(self, answer: Mapping[str, Json]) -> Mapping[str, Json]:
        return {"embedding": answer["data"][0]["embedding"]}

    def _shown(self, entry: Mapping[str, Json], vector: Vector | None) -> Mapping[str, Json]:
        """The answer to a templated record whose vector is good; it shows nothing else of its entry."""
        shown: Json = vector
        if self._spec.vectors == "base64":
            sent = entry["embedding"]
            shown = sent if isinstance(sent, str) else pybase64.b64encode(np.asarray(vector).tobytes()).decode()
        return _answer([{"embedding": shown}])


def _answer(entries: Sequence[Mapping[str, Json]]) -> Mapping[str, Json]:
    data = [{"object": "embedding", **entry, "index": index} for index, entry in enumerate(entries)]
    return {"object": "list", "data": data}


def read_vector(embedding: Json, *, narrow: bool) -> Vector | None:
    """Return the numbers of an embedding, base64 or a list; None where it is neither, empty or not finite.

    A list stays as it is, so that its decimals are written as they came, unless `narrow` asks for float32. Its sum is
    finite only where all of it is, and fails where something in it is no number.
    """
    try:
        if isinstance(embedding, str):
            array = np.frombuffer(pybase64.b64decode(embedding, validate=True), "<f4")
        elif not isinstance(embedding, list) or not math.isfinite(sum(embedding)):
            return None
        elif not narrow:
            return embedding or None
        else:
            with np.errstate(over="ignore"):
                array = np.array(embedding, "<f4")
    except (ValueError, TypeError):
        return None
    finite = np.count_nonzero(np.isfinite(array))  # in half the time of `all`
    return array if finite == array.size > 0 else None


def usual_length(vectors: Sequence[Vector | None]) -> int:
    """Return the length that most vectors have, of equally frequent ones the longest; 0 where there is no vector."""
    lengths = [len(vector) for vector in vectors if vector is not None]
    return max(set(lengths), key=lambda length: (lengths.count(length), length), default=0)


def bad_vector(vectors: Sequence[Vector | None], length: int, asked: int) -> Rejected | None:
    """Return why a record's vectors cannot be its answer, or None where all are finite and of the right length."""
    for vector in vectors:
        if vector is None:
            return Rejected("the server sent no vector of finite numbers", code="bad_vector")
        if len(vector) != length:
            wanted = "were asked for: it may not support `dimensions`, so leave it out" if asked else "others have"
            return Rejected(f"the server sent {len(vector)} dimensions where {length} {wanted}", code="bad_vector")
    return None
