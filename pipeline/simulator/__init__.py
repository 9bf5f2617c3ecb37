"""The built-in server: an OpenAI-style API on this machine, with limits, faults and its own bill.

It is an independent judge: it shares no code with the client that it tests, and keeps its own record of what it
served and billed. Names are imported when they are first used, so that `pipeline simulate --help` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.simulator.billing import PRICES, Price, Tokens, cost_nusd
    from pipeline.simulator.embeddings import engine, wordllama_folder
    from pipeline.simulator.endpoints.moderations import expected_scores
    from pipeline.simulator.faults import FAULTS, Faults
    from pipeline.simulator.options import Options
    from pipeline.simulator.record import Entry, bill, digest, read_record
    from pipeline.simulator.serve import run_forever
    from pipeline.simulator.server import Simulator
    from pipeline.simulator.text import chat_prompt, expected_text
    from pipeline.simulator.tokens import count_tokens

_HOMES = {
    "Entry": "record",
    "FAULTS": "faults",
    "Faults": "faults",
    "Options": "options",
    "PRICES": "billing",
    "Price": "billing",
    "Simulator": "server",
    "Tokens": "billing",
    "bill": "record",
    "chat_prompt": "text",
    "cost_nusd": "billing",
    "count_tokens": "tokens",
    "digest": "record",
    "engine": "embeddings",
    "expected_scores": "endpoints.moderations",
    "expected_text": "text",
    "read_record": "record",
    "run_forever": "serve",
    "wordllama_folder": "embeddings",
}

__all__ = [
    "FAULTS",
    "PRICES",
    "Entry",
    "Faults",
    "Options",
    "Price",
    "Simulator",
    "Tokens",
    "bill",
    "chat_prompt",
    "cost_nusd",
    "count_tokens",
    "digest",
    "engine",
    "expected_scores",
    "expected_text",
    "read_record",
    "run_forever",
    "wordllama_folder",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
