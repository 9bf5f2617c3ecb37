"""Moderations: whether a text breaks a policy, for many records in a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.errors import Rejected
from pipeline.job import (
    JobSpec,
    base_body,
    batch_line_body,
    batch_line_item,
    batch_lines_body,
    entries,
    input_count,
    is_batch_line,
    render_text,
)
from pipeline.types import Item, Json, Record

_ALLOWED = frozenset({"model", "input"})


class Moderations:
    """Template `text`; result fields `flagged`, `categories`, `category_scores`.

    The API gives its results no index: they are joined by position, and only their count can be checked.
    """

    path = "/moderations"
    max_items = 2048
    """As for embeddings; the API states no maximum."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._base = base_body(spec)

    def render(self, record: Record) -> Item:
        if is_batch_line(record.data):
            return batch_line_item(self._spec, record, batch_line_body(record, self.path, _ALLOWED), "input")
        text, tokens = render_text(self._spec, "text", record)
        return Item(record, text, tokens)

    def body(self, items: Sequence[Item]) -> Mapping[str, Json]:
        if items[0].group is not None:
            return batch_lines_body(items, "input")
        return {**self._base, "input": [item.content for item in items]}

    def split(self, items: Sequence[Item], body: Json) -> Sequence[Mapping[str, Json] | Rejected]:
        templated = items[0].group is None
        counts = [1 if templated else input_count(item.content["input"]) for item in items]
        results = iter(entries(body, "results", sum(counts)))
        head = {"id": body["id"]} if "id" in body else {}
        return [{**head, "results": [next(results) for _ in range(count)]} for count in counts]

    def fields(self, answer: Mapping[str, Json]) -> Mapping[str, Json]:
        result = answer["results"][0]
        return {key: result.get(key) for key in ("flagged", "categories", "category_scores")}
