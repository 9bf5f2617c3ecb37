"""Estimates come near the exact count; bounds and cuts hold always."""

import asyncio

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.tokens import Calibration, TextTokenizer, encoding_name
from pipeline.storage.vocabulary import load

TEXTS = {
    "English": "The committee met on Tuesday to discuss the budget, and nobody was surprised when it adjourned early. "
    * 4,
    "code": "def total(values: list[int]) -> int:\n    return sum(value for value in values if value > 0)\n\n" * 4,
    "JSON": '{"ticket_id": 4711, "subject": "Password reset", "tags": ["login", "urgent"], "open": true}\n' * 4,
    "German": "Die Sitzung wurde auf Dienstag verschoben, weil mehrere Mitglieder verhindert waren. " * 4,
    "Russian": "Заседание перенесли на вторник, потому что многие участники не смогли прийти. " * 4,
    "Chinese": "会议改到星期二举行。因为有几位成员不能参加。委员会将讨论明年的预算。" * 6,
    "Japanese": "会議は火曜日に延期されました。何人かの委員が出席できなかったからです。" * 6,
    "Korean": "여러 위원이 참석하지 못해 회의가 화요일로 연기되었습니다. " * 6,
}


@pytest.fixture(scope="module", params=["cl100k_base", "o200k_base"])
def encoding(request: pytest.FixtureRequest) -> tiktoken.Encoding:
    loaded = load(request.param)
    assert loaded is not None
    return loaded


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_an_estimate_is_within_a_third_of_the_exact_count(encoding: tiktoken.Encoding, text: str) -> None:
    exact = len(encoding.encode_ordinary(text))

    assert TextTokenizer(encoding.name).estimate(text) == pytest.approx(exact, rel=1 / 3)


def test_every_character_weighs_something_and_nothing_weighs_nothing() -> None:
    tokenizer = TextTokenizer("o200k_base")

    assert tokenizer.estimate("") == 0
    assert all(tokenizer.estimate(chr(code)) == 1 for code in range(0x80))
    assert tokenizer.estimate("\u00a0\u0416\u4e2d\u3042\ud55c\u0e01\u05d0\uff01😀") == 8


@given(st.text())
def test_an_estimate_grows_with_the_text(text: str) -> None:
    tokenizer = TextTokenizer("cl100k_base")

    assert tokenizer.estimate(text) <= tokenizer.estimate(text + "a") <= tokenizer.estimate(text) + 1


@settings(max_examples=200)
@given(text=st.text(), data=st.data())
def test_a_cut_text_is_a_prefix_within_the_limit(encoding: tiktoken.Encoding, text: str, data: st.DataObject) -> None:
    for tokenizer in (TextTokenizer(encoding.name, encoding), TextTokenizer(encoding.name)):
        exact = tokenizer.count(text)
        limit = data.draw(st.integers(-1, exact + 1))
        short = tokenizer.truncate(text, limit)

        assert text.startswith(short)
        assert tokenizer.count(short) <= max(limit, 0)
        assert limit < exact or short == text


def test_a_cut_never_breaks_a_character(encoding: tiktoken.Encoding) -> None:
    tokenizer = TextTokenizer(encoding.name, encoding)
    text = "🦄🏳️‍🌈 ᚠᛇᚻ" * 20

    cuts = {tokenizer.truncate(text, limit) for limit in range(tokenizer.count(text))}
    assert all(text.startswith(cut) for cut in cuts)
    assert len(cuts) > 100


@pytest.mark.parametrize(("name", "text"), [("cl100k_base", " раЀ"), ("o200k_base", "र्ऀ"), ("cl100k_base", "無しぁ")])
def test_a_cut_inside_a_token_that_ends_in_half_a_character_keeps_the_limit(name: str, text: str) -> None:
    tokenizer = TextTokenizer(name, load(name))

    assert tokenizer.count(text) == 2
    assert tokenizer.count(tokenizer.truncate(text, 1)) <= 1


def test_the_bound_without_a_vocabulary_is_never_below_the_exact_count(encoding: tiktoken.Encoding) -> None:
    for text in TEXTS.values():
        assert TextTokenizer(encoding.name).count(text) >= TextTokenizer(encoding.name, encoding).count(text)


def test_a_text_that_overwhelms_the_vocabulary_in_one_piece_is_counted_in_pieces(encoding: tiktoken.Encoding) -> None:
    tokenizer = TextTokenizer(encoding.name, encoding)
    spaces = " " * 1_000_000

    assert tokenizer.count(spaces) == pytest.approx(1_000_000 / 128, abs=20)
    assert tokenizer.truncate(spaces, 3) == " " * 3 * 128


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("gpt-oss-20b", "o200k_harmony"),
        ("gpt-6-luna", "o200k_base"),
        ("llama-3", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_an_unknown_model_counts_like_the_newest(model: str, name: str) -> None:
    assert encoding_name(model) == name


def test_a_calibration_finds_how_far_estimates_are_off() -> None:
    calibration = Calibration()
    assert calibration.charge(100, 50) == 150

    for _ in range(200):
        calibration.observe(1000, 1500)
    assert calibration.ratio == pytest.approx(1.5, rel=0.001)
    assert calibration.charge(100, 50) == 200


def test_one_odd_answer_moves_a_calibration_little() -> None:
    calibration = Calibration()
    for _ in range(50):
        calibration.observe(1000, 1000)
    calibration.observe(1000, 10_000)

    assert calibration.ratio == pytest.approx(1.45)


@given(st.lists(st.tuples(st.integers(-5, 10**6), st.integers(-5, 10**9))))
def test_a_calibration_stays_between_a_quarter_and_four(seen: list[tuple[int, int]]) -> None:
    calibration = Calibration()
    for estimated, actual in seen:
        calibration.observe(estimated, actual)

    assert 0.25 <= calibration.ratio <= 4


def test_an_answer_without_usage_teaches_nothing() -> None:
    calibration = Calibration()
    calibration.observe(100, 0)
    calibration.observe(0, 100)

    assert calibration.ratio == 1


async def test_a_vocabulary_can_be_loaded_in_a_thread() -> None:
    loaded = await asyncio.to_thread(load, "cl100k_base")

    assert loaded is not None
    assert TextTokenizer("cl100k_base", loaded).count("hello world") == 2
