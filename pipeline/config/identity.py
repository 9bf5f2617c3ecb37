"""What a run may not change between two executions of it."""

from __future__ import annotations

from hashlib import blake2b

import orjson

from pipeline.config.loading import Loaded

_KEYS = {
    "job", "model", "params", "text", "prompt", "system", "messages", "max_output_tokens", "max_input_tokens",
    "too_long", "vectors",
}  # fmt: skip


def fingerprint(loaded: Loaded) -> str:
    """Return a hash of all that results depend on: the job, the model, what is asked of it and of which endpoint.

    Limits, budgets and paths are not part of it, nor is the endpoint's address: a server may come back elsewhere.
    """
    values = loaded.config.model_dump(mode="json", include=_KEYS)
    values |= {
        "id": loaded.config.input.id,
        "keep": loaded.config.output.keep,
        "endpoint": loaded.endpoint.name,
    }
    return blake2b(orjson.dumps(values, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
