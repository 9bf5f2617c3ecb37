"""POST /v1/embeddings."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.simulator.billing import Tokens
from pipeline.simulator.embeddings import Engine, Vectors, engine, shorten
from pipeline.simulator.endpoints.call import Answer
from pipeline.simulator.endpoints.fields import Body, texts, too_long, whole
from pipeline.simulator.options import Options
from pipeline.simulator.refusal import invalid

_INPUT_TOKENS = 8192
_REQUEST_TOKENS = 300_000
_LARGE = 200_000
"""Characters from which the work leaves the event loop (about 0.1 s of it)."""


@dataclass(frozen=True, slots=True)
class EmbeddingsCall:
    """A valid request for vectors."""

    texts: list[str]
    input_tokens: int
    dimensions: int | None
    base64: bool
    engine: Engine
    output_bound: int = 0

    async def answer(self, serial: int) -> Answer:  # noqa: ARG002  an embeddings answer has no id
        vectors = shorten(await self._vectors(), self.dimensions)
        data = [
            {"object": "embedding", "index": index, "embedding": self._encoded(vector)}
            for index, vector in enumerate(vectors)
        ]
        count = {"prompt_tokens": self.input_tokens, "total_tokens": self.input_tokens}
        body = {"object": "list", "data": data, "model": self.engine.model, "usage": count}
        return Answer(body, Tokens(self.input_tokens), self.engine.model)

    async def _vectors(self) -> Vectors:
        if sum(map(len, self.texts)) < _LARGE:
            return self.engine.embed(self.texts)
        return await asyncio.to_thread(self.engine.embed, self.texts)

    def _encoded(self, vector: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        return b64encode(vector.astype("<f4", copy=False).tobytes()).decode() if self.base64 else vector


def read_embeddings(body: Body, options: Options) -> EmbeddingsCall:
    """Return the call that `body` asks for.

    Raises:
        Refusal: The body cannot be served.
    """
    counted = texts(body, "input", options.max_items)
    longest = max(item.tokens for item in counted)
    total = sum(item.tokens for item in counted)
    if not all(item.text for item in counted):
        raise invalid("input must not be empty", param="input")
    if longest > _INPUT_TOKENS:
        raise too_long(_INPUT_TOKENS, longest, "input")
    if total > _REQUEST_TOKENS:
        raise invalid(f"a request may have {_REQUEST_TOKENS} tokens, not {total}", code="max_tokens_per_request")
    source = engine(options.engine)
    return EmbeddingsCall(
        texts=[item.text for item in counted],
        input_tokens=total,
        dimensions=whole(body, "dimensions", 1, source.dimensions),
        base64=_wants_base64(body),
        engine=source,
    )


def _wants_base64(body: Body) -> bool:
    encoding = body.get("encoding_format", "float")
    if encoding not in {"float", "base64"}:
        raise invalid("encoding_format must be float or base64", param="encoding_format")
    return bool(encoding == "base64")
