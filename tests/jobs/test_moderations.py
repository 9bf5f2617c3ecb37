from __future__ import annotations

import pytest

from jobs.moderations import Moderations
from pipeline.errors import Malformed, Rejected
from pipeline.types import Item, Json
from tests.jobs.samples import batch_line, record, spec


def result(flagged: bool) -> Json:
    return {"flagged": flagged, "categories": {"hate": flagged}, "category_scores": {"hate": 0.5}, "extra": 1}


def items(job: Moderations, count: int) -> list[Item]:
    return [job.render(record(line, text=f"text {line}")) for line in range(1, count + 1)]


def test_texts_are_packed() -> None:
    job = Moderations(spec(params={"safety": 1}))

    assert job.body(items(job, 2)) == {"model": "m", "safety": 1, "input": ["text 1", "text 2"]}


def test_results_are_joined_by_position() -> None:
    job = Moderations(spec())
    answers = job.split(items(job, 2), {"id": "modr-1", "results": [result(True), result(False)]})

    assert answers == [{"id": "modr-1", "results": [result(True)]}, {"id": "modr-1", "results": [result(False)]}]


def test_a_result_line_shows_verdict_categories_and_scores() -> None:
    job = Moderations(spec())
    answer = job.split(items(job, 1), {"results": [result(True)]})[0]

    assert not isinstance(answer, Rejected)
    assert job.fields(answer) == {"flagged": True, "categories": {"hate": True}, "category_scores": {"hate": 0.5}}


@pytest.mark.parametrize("results", [[], [result(True)], [result(True)] * 3, None, [result(True), None], "ab"])
def test_another_number_of_results_is_malformed(results: Json) -> None:
    job = Moderations(spec())

    with pytest.raises(Malformed):
        job.split(items(job, 2), {"results": results})


@pytest.mark.parametrize(
    ("value", "count"), [(["a", "b"], 2), ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}], 1)]
)
def test_an_array_in_a_batch_line_keeps_all_its_results(value: Json, count: int) -> None:
    job = Moderations(spec())
    line = job.render(batch_line("/v1/moderations", input=value))

    assert job.split([line], {"results": [result(True)] * count}) == [{"results": [result(True)] * count}]
