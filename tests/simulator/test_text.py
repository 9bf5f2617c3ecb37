from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator import chat_prompt, count_tokens, expected_text
from pipeline.simulator.text import WORDS, expected_words


def test_every_word_is_one_token_wherever_it_stands() -> None:
    assert len(set(WORDS)) == 64
    assert [count_tokens(word) for word in WORDS] == [1] * 64
    assert [count_tokens(f" {word}") for word in WORDS] == [1] * 64


def test_the_text_of_a_prompt_never_changes() -> None:
    assert expected_text("Say hello.") == expected_text("Say hello.")


def test_prompts_and_choices_have_texts_of_their_own() -> None:
    texts = {expected_text(f"prompt {number}", choice) for number in range(2000) for choice in range(3)}

    assert len(texts) == 6000


@given(st.text(), st.integers(0, 20), st.integers(0, 40))
def test_a_text_is_cut_after_the_most_tokens(prompt: str, choice: int, most: int) -> None:
    words = expected_words(prompt, choice)

    assert 8 <= len(words) <= 15
    assert expected_text(prompt, choice, most) == " ".join(words[:most])
    assert count_tokens(expected_text(prompt, choice, most)) == min(most, len(words))


def test_a_conversation_is_one_text() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
        {"role": "assistant", "content": None},
    ]

    assert chat_prompt(messages) == "system: Be short.\nuser: Hello\nassistant: "
