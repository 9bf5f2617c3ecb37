"""From a line of the input to what a run would make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from pipeline.assembly import Parts
from pipeline.config import Loaded, resolve_job
from pipeline.core.parse import parse_line
from pipeline.core.tokens import Counting, TextTokenizer, encoding_name, has_own_encoding
from pipeline.engine import UNBOUNDED_CHARGE
from pipeline.errors import Rejected
from pipeline.job import is_batch_line
from pipeline.storage.lines import Page
from pipeline.storage.vocabulary import load as load_vocabulary
from pipeline.types import BadLine, Item


class Counted(NamedTuple):
    """A record that would be sent."""

    item: Item
    """As a run has it: its tokens are estimated, and packed by."""
    tokens: int
    """Its input tokens, counted where that is possible."""

    @property
    def output(self) -> int:
        """The most output tokens; 0 where nothing bounds them."""
        return self.item.output_tokens or 0

    @property
    def charge(self) -> int:
        """What it takes from the limit of tokens."""
        return self.tokens + (UNBOUNDED_CHARGE if self.item.output_tokens is None else self.output)


class Bad(NamedTuple):
    """A record that would become a dead letter without being sent."""

    code: str


class Reader:
    """Reads lines as a run would. May take a second to load a vocabulary: make it in a thread.

    Args:
        loaded: The config.
        parts: What a run is made of.
        model: Whose vocabulary counts.
    """

    def __init__(self, loaded: Loaded, parts: Parts, model: str) -> None:
        self._encoding = encoding_name(model)
        vocabulary = load_vocabulary(self._encoding)
        self._parts = parts
        self._counting = Counting(TextTokenizer(self._encoding, vocabulary))
        spec = replace(parts.spec, tokenizer=self._counting)
        self._counted = resolve_job(loaded.config.job, loaded)(spec) if vocabulary is not None else None

    def counts(self, model: str) -> bool:
        """Whether the tokens of requests to `model` are counted with its own vocabulary, and not estimated."""
        return self._counted is not None and has_own_encoding(model) and encoding_name(model) == self._encoding

    @property
    def cut(self) -> int:
        """How many records so far were cut to what the model takes."""
        return self._counting.cut

    def read(self, line: int, raw: bytes) -> Counted | Bad | None:
        """Return what a run would make of a line; None where it is blank."""
        record = parse_line(line, raw, self._parts.id_field)
        if record is None:
            return None
        if isinstance(record, BadLine):
            return Bad(record.code)
        try:
            item = self._parts.job.render(record)
            self._parts.require_bound(item)
        except Rejected as error:
            return Bad(error.code)
        found = Counted(item, self._count(item))
        limit = self._parts.limits.tpm
        return Bad("request_too_large") if limit is not None and found.charge > limit else found

    def _count(self, item: Item) -> int:
        if self._counted is None:
            return item.input_tokens
        try:
            return self._counted.render(item.record).input_tokens
        except Rejected:  # a run estimates, and finds it short enough to be sent
            return item.input_tokens


def first_model(page: Page) -> str:
    """Return the model that the first OpenAI Batch line of a page asks for; empty where there is none."""
    for line, raw in enumerate(page.lines, page.first_line):
        record = parse_line(line, raw)
        if record is None or isinstance(record, BadLine):
            continue
        body = record.data.get("body") if is_batch_line(record.data) else None
        model = body.get("model") if isinstance(body, dict) else None
        return model if isinstance(model, str) else ""
    return ""
