from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator.embeddings import Engine, engine, shorten, wordllama_folder

CONFIGS = Path(__file__).parents[2] / "configs"
needs_weights = pytest.mark.skipif(wordllama_folder() is None, reason="the wordllama weights are not installed")
ENGINES = [pytest.param("wordllama", marks=needs_weights), "hashing"]
TEXTS = ["The invoice is wrong.", "", " ", "naïve café ☕", "a" * 3000, "The invoice is wrong!"]


@pytest.fixture(params=ENGINES)
def source(request: pytest.FixtureRequest) -> Engine:
    return engine(request.param)


def test_every_vector_has_length_one_whatever_the_text(source: Engine) -> None:
    assert np.linalg.norm(source.embed(TEXTS), axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_a_vector_does_not_depend_on_the_rest_of_its_request(source: Engine) -> None:
    together = source.embed(TEXTS)
    alone = np.concatenate([source.embed([text]) for text in TEXTS])

    assert together.tobytes() == alone.tobytes()


def test_the_model_says_where_the_vectors_come_from(source: Engine) -> None:
    assert source.model in {"simulator-wordllama-256", "simulator-hashing-256"}
    assert source.model == engine(source.model.split("-")[1]).model
    assert source.embed(["x"]).shape == (1, 256)


@given(st.integers(1, 256))
def test_shorter_vectors_are_the_first_numbers_made_length_one(dimensions: int) -> None:
    full = engine("hashing").embed(["one two three four five six seven", "eight nine ten"])
    short = shorten(full, dimensions)
    head = full[:, :dimensions]
    lengths = np.linalg.norm(head, axis=1, keepdims=True)

    assert np.linalg.norm(short, axis=1) == pytest.approx(np.ones(2), abs=1e-5)
    assert np.allclose(short * lengths, head * (lengths > 0), atol=1e-5)


def test_shared_words_make_texts_alike() -> None:
    vectors = engine("hashing").embed(["my parcel is late", "the parcel is late", "cats like warm milk"])

    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]


def test_the_sample_holds_five_hundred_different_tickets_and_thirty_pairs() -> None:
    rows = _sample()
    pairs = json.loads((CONFIGS / "sample-pairs.json").read_text())

    assert [set(row) for row in rows] == [{"id", "subject", "body"}] * 500
    assert len({row["id"] for row in rows}) == len({row["body"] for row in rows}) == 500
    assert len({one for pair in pairs for one in pair}) == 60


@needs_weights
def test_the_nearest_ticket_is_the_paraphrase() -> None:
    assert _pairs_found(engine("wordllama")) >= 28


def test_feature_hashing_does_not_find_paraphrases() -> None:
    assert _pairs_found(engine("hashing")) <= 10


def _sample() -> list[dict[str, str]]:
    return [json.loads(line) for line in (CONFIGS / "sample.jsonl").read_text().splitlines()]


def _pairs_found(source: Engine) -> int:
    rows = _sample()
    place = {row["id"]: number for number, row in enumerate(rows)}
    vectors = source.embed([f"{row['subject']}\n{row['body']}" for row in rows])
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    nearest = likeness.argmax(axis=1)
    pairs = json.loads((CONFIGS / "sample-pairs.json").read_text())
    return sum(nearest[place[one]] == place[other] and nearest[place[other]] == place[one] for one, other in pairs)
