from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from jobs.chat import Chat
from jobs.completions import Completions
from jobs.embeddings import Embeddings
from jobs.moderations import Moderations
from pipeline.errors import Rejected
from pipeline.job import Job, JobSpec, entries_by_index, render_text
from pipeline.types import Item, Json, Record
from tests.jobs.samples import record, spec


class Reranking:
    """A job as a user would write one in a module of theirs: scores of texts against one query."""

    path = "/rerank"
    max_items = 100

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec

    def render(self, record: Record) -> Item:
        text, tokens = render_text(self._spec, "text", record)
        return Item(record, text, tokens)

    def body(self, items: Sequence[Item]) -> Mapping[str, Json]:
        return {**self._spec.params, "model": self._spec.model, "documents": [item.content for item in items]}

    def split(self, items: Sequence[Item], body: Json) -> Sequence[Mapping[str, Json] | Rejected]:
        return [{"results": [{**entry, "index": 0}]} for entry in entries_by_index(body, "results", len(items))]

    def fields(self, answer: Mapping[str, Json]) -> Mapping[str, Json]:
        return {"score": answer["results"][0]["relevance_score"]}


EVERY_JOB: list[Callable[[JobSpec], Job]] = [Embeddings, Completions, Chat, Moderations, Reranking]
"""mypy checks here that each class satisfies the protocol."""


@pytest.mark.parametrize("make", EVERY_JOB)
def test_a_job_has_a_path_below_the_base_url_and_a_bound(make: Callable[[JobSpec], Job]) -> None:
    job = make(spec())

    assert job.path.startswith("/")
    assert job.max_items >= 1


def test_a_users_own_job_renders_packs_and_splits() -> None:
    job: Job = Reranking(spec(params={"query": "q"}))
    items = [job.render(record(line, text=text)) for line, text in enumerate("ab", 1)]
    body = {"results": [{"index": 1, "relevance_score": 0.1}, {"index": 0, "relevance_score": 0.9}]}
    answers = job.split(items, body)

    assert job.body(items) == {"query": "q", "model": "m", "documents": ["a", "b"]}
    assert [job.fields(answer)["score"] for answer in answers if not isinstance(answer, Rejected)] == [0.9, 0.1]
