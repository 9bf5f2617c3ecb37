"""The built-in server: an OpenAI-style API on this machine, with limits, faults and its own bill.

It is an independent judge: it shares no code with the client that it tests, and keeps its own record of what it
served and billed.
"""

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
