from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.report import read_samples
from pipeline.report.samples import MOST
from pipeline.storage.state import Places
from pipeline.types import Json
from tests.storage.outputs import places_in


def line(number: int, **fields: Json) -> bytes:
    head = {"attempt": f"abcdefgh-{number}-{number}-100", "custom_id": f"T-{number}"}
    tail = {"model": "m", "usage": {"prompt_tokens": 3}, "cost_usd": 0.1}
    return orjson.dumps({**head, **fields, **tail}, option=orjson.OPT_APPEND_NEWLINE)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return places_in(tmp_path)


def write_input(folder: Path, count: int) -> str:
    path = folder / "in.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"id": n, "text": f"text {n}"}) + b"\n" for n in range(1, count + 1)))
    return str(path)


async def test_samples_lie_over_the_whole_output_and_show_what_is_new_in_the_answer(
    places: Places, tmp_path: Path
) -> None:
    places.output.write_bytes(b"".join(line(n, id=n, answer=f"to {n}") for n in range(1, 1001)))
    samples = await read_samples(places, write_input(tmp_path, 1000))

    assert len(samples) == MOST
    assert [sample.line // 250 for sample in samples] == [0, 1, 2, 3]
    assert samples[0] == (1, "T-1", "id: 1\ntext: text 1", "answer: to 1")


async def test_a_vector_is_shown_by_its_first_numbers(places: Places, tmp_path: Path) -> None:
    places.output.write_bytes(line(1, embedding=[0.123456789] * 512))

    assert [sample.answer for sample in await read_samples(places, write_input(tmp_path, 1))] == [
        "embedding: [0.1235, 0.1235, 0.1235, 0.1235, … 512 numbers]"
    ]


async def test_a_batch_line_shows_its_choices(places: Places, tmp_path: Path) -> None:
    body = {"choices": [{"index": 0, "text": "yes"}], "usage": {}}
    answer = {"id": "batch_req_abcdefgh-1-1-100", "custom_id": "a", "response": {"body": body}, "error": None}
    places.output.write_bytes(orjson.dumps(answer) + b"\n")
    samples = await read_samples(places, write_input(tmp_path, 1))

    assert [(sample.custom_id, sample.answer) for sample in samples] == [("a", '[{"index":0,"text":"yes"}]')]


async def test_texts_of_megabytes_are_cut_and_do_not_hide_the_rest(places: Places, tmp_path: Path) -> None:
    huge = [line(n, answer="x" * 3_000_000 if n % 2 else "short") for n in range(1, 5)]
    places.output.write_bytes(b"".join(huge))
    samples = await read_samples(places, write_input(tmp_path, 4))

    assert samples
    assert all(len(sample.answer) <= 601 for sample in samples)


@pytest.mark.parametrize("source", ["-", "absent.jsonl"])
async def test_without_its_input_an_answer_is_shown_alone(places: Places, source: str) -> None:
    places.output.write_bytes(line(1, answer="yes"))

    assert await read_samples(places, source) == [(1, "T-1", None, "answer: yes")]


@pytest.mark.parametrize("content", [b"", b"no line of ours\n", b'{"attempt":"abcdefgh-1-1-1'])
async def test_no_answers_are_no_samples(places: Places, content: bytes) -> None:
    places.partial.write_bytes(content)

    assert await read_samples(places, "-") == []


async def test_no_output_is_no_samples(places: Places) -> None:
    assert await read_samples(places, "-") == []
