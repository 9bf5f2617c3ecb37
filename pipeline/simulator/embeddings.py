"""Where the simulator's vectors come from: real weights where they are installed, else feature hashing.

Every text is encoded alone, so that its vector does not depend on what else is in its request.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol
from zlib import crc32

import numpy as np

DIMENSIONS = 256
Vectors = np.ndarray[Any, np.dtype[np.float32]]
"""One row a text, each of length 1."""

_WORD = re.compile(r"\w+")


class Engine(Protocol):
    """Turns texts into vectors."""

    model: str
    dimensions: int

    def embed(self, texts: list[str]) -> Vectors:
        """Return an array of shape (texts, dimensions)."""


class WordLlama:
    """The static embedding table and tokenizer shipped by the `wordllama` package: a text is the mean of its tokens.

    The two files are read directly. The package's own loader configures logging and looks for them elsewhere.
    """

    model = "simulator-wordllama-256"
    dimensions = DIMENSIONS

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file  # noqa: PLC0415  installed with the extra `local` only
        from tokenizers import Tokenizer  # noqa: PLC0415

        self._table = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"].astype("f4")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def embed(self, texts: list[str]) -> Vectors:
        sums = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, text in zip(sums, texts, strict=True):
            tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
            np.add.reduce(self._table[tokens], axis=0, out=row)
        return _normalised(sums)


class Hashing:
    """Feature hashing of words: similar only where words are the same."""

    model = "simulator-hashing-256"
    dimensions = DIMENSIONS

    def embed(self, texts: list[str]) -> Vectors:
        sums = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, text in zip(sums, texts, strict=True):
            for word in _WORD.findall(text.lower()):
                place, sign = _feature(word)
                row[place] += sign
        return _normalised(sums)


@lru_cache(maxsize=2**14)
def _feature(word: str) -> tuple[int, int]:
    number = crc32(word.encode())
    return number % DIMENSIONS, 1 if number & 0x10000 else -1


def _normalised(vectors: Vectors) -> Vectors:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    vectors[lengths == 0, 0] = 1
    lengths[lengths == 0] = 1
    vectors /= lengths[:, None]
    return vectors


def shorten(vectors: Vectors, dimensions: int | None) -> Vectors:
    """Return the first `dimensions` of each vector, made length 1 again; None leaves them as they are."""
    return vectors if dimensions is None else _normalised(vectors[:, :dimensions].copy())


@cache
def engine(name: Literal["auto", "wordllama", "hashing"] = "auto") -> Engine:
    """Return the engine of that name, loaded once a process.

    Raises:
        ModuleNotFoundError: The wordllama weights are asked for by name and not installed.
    """
    folder = wordllama_folder()
    if name == "hashing" or (name == "auto" and folder is None):
        return Hashing()
    if folder is None:
        raise ModuleNotFoundError("the wordllama weights are not installed: pip install 'pipeline[local]'")
    return WordLlama(folder)


def wordllama_folder() -> Path | None:
    """Return the folder of the installed wordllama package; None where there is none."""
    spec = importlib.util.find_spec("wordllama")
    return Path(spec.origin).parent if spec and spec.origin else None
