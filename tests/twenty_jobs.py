"""Jobs of every kind for the built-in simulator: each writes its config and input, and says what the server is told.

They are what money is checked on: what a run records against what the server billed, and what a plan foretold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.types import Json
from tests.acceptance.command import write_config, write_records

EMBEDDINGS: Mapping[str, Json] = {"job": "embeddings", "model": "simulator-hashing-256", "text": "{{ text }}"}
COMPLETIONS: Mapping[str, Json] = {
    "job": "completions",
    "model": "simulator-text-1",
    "prompt": "{{ text }}",
    "max_output_tokens": 64,
}
CHAT: Mapping[str, Json] = {**COMPLETIONS, "job": "chat", "system": "Answer in few words."}
MODERATIONS: Mapping[str, Json] = {"job": "moderations", "model": "simulator-moderation-1", "text": "{{ text }}"}
QUICK: Mapping[str, Json] = {"base": 0.01, "cap": 0.1}
_MODELS = ("simulator-text-1", "simulator-text-1-large")


class Case(NamedTuple):
    """One job."""

    name: str
    """Also that of the config and of the run."""
    keys: Mapping[str, Json]
    """Of the config, besides those that are the same for all."""
    records: Sequence[Json]
    server: tuple[str, ...] = ()
    """Flags of `pipeline simulate`, besides `--engine hashing`. Cases with the same rates may share a server, one
    with a script needs its own."""
    code: int = 0
    """What the run ends with; of several, the last."""
    exact: bool = True
    """Every request that was billed brought an answer whose usage was believed: recorded = billed, else >=."""
    kills: tuple[int, ...] = ()
    """Served requests after which the run is killed (SIGKILL), to be started again."""
    then: tuple[str, ...] = ()
    """A command that follows the run, without the config, such as `retry`."""

    @property
    def needs_own_server(self) -> bool:
        return "--script" in self.server

    def write(self, folder: Path) -> Path:
        """Write the input and the config, and return the path of the config. Runs are started in `folder`.

        The endpoint is the built-in `simulator`: SIMULATOR_BASE_URL says where it is.
        """
        write_records(folder / "in.jsonl", self.records)
        files = {"input": {"path": "in.jsonl"}, "output": {"path": "out.jsonl"}}
        return write_config(folder, self.name, endpoint="simulator", **{**files, **self.keys})


def texts(count: int) -> list[Json]:
    """Records whose texts have from 2 to about 60 tokens."""
    return [{"text": f"ticket {number}" + " the parcel came late" * (number * 7 % 13)} for number in range(count)]


def lines(url: str, bodies: Sequence[Json]) -> list[Json]:
    """OpenAI Batch lines."""
    return [
        {"custom_id": f"task-{number}", "method": "POST", "url": f"/v1/{url}", "body": body}
        for number, body in enumerate(bodies)
    ]


def _asked(number: int) -> Json:
    return [{"role": "user", "content": f"question {number}" + " and why" * (number % 5)}]


def _poisoned(count: int, every: int) -> list[Json]:
    return [{"text": "POISON" if number % every == 5 else record["text"]} for number, record in enumerate(texts(count))]


_CHAT_LINES = lines(
    "chat/completions",
    [{"model": _MODELS[n % 2], "messages": _asked(n), "n": 1 + n % 3, "max_completion_tokens": 40} for n in range(30)],
)
_EMBEDDING_LINES = lines(
    "embeddings",
    [
        {"model": f"simulator-hashing-256{'-large' * (n % 3 == 0)}", "input": record["text"] if n % 4 else [1, 2, 3, n]}
        for n, record in enumerate(texts(90))
    ],
)
_COMPLETION_LINES = lines(
    "completions",
    [
        {"model": _MODELS[n % 2], "prompt": [record["text"], "and"] if n % 5 == 0 else record["text"], "max_tokens": 5}
        for n, record in enumerate(texts(60))
    ],
)

CASES: tuple[Case, ...] = (
    Case("embeddings-of-1", {**EMBEDDINGS, "batch": {"max_items": 1}}, texts(60)),
    Case("embeddings-of-7", {**EMBEDDINGS, "batch": {"max_items": 7}, "vectors": "base64"}, texts(200)),
    Case("embeddings-of-20", {**EMBEDDINGS, "params": {"dimensions": 64}}, texts(500)),
    Case("embeddings-by-tokens", {**EMBEDDINGS, "batch": {"max_items": 2048, "max_tokens": 900}}, texts(300)),
    Case("completions", COMPLETIONS, texts(150)),
    Case("completions-n-3", {**COMPLETIONS, "params": {"n": 3}}, texts(80)),
    Case("completions-best-of-4", {**COMPLETIONS, "params": {"n": 2, "best_of": 4}}, texts(60)),
    Case("completions-cached", {**COMPLETIONS, "batch": {"max_items": 9}}, texts(100), ("--cached-share", "0.37")),
    Case("completions-default-limit", {**COMPLETIONS, "max_output_tokens": None}, texts(50)),
    Case("chat", CHAT, texts(60)),
    Case("chat-n-2", {**CHAT, "params": {"n": 2}}, texts(40)),
    Case("chat-cached", CHAT, texts(40), ("--cached-share", "0.37")),
    Case("chat-reasoning", CHAT, texts(40), ("--reasoning-tokens", "11")),
    Case(
        "chat-reasoning-cached-n-3",
        {**CHAT, "params": {"n": 3}},
        texts(40),
        ("--reasoning-tokens", "11", "--cached-share", "0.5"),
    ),
    Case("chat-truncated", {**CHAT, "max_output_tokens": 3}, texts(40)),
    Case("moderations", MODERATIONS, texts(60)),
    Case("lines-chat-two-models", {"job": "chat"}, _CHAT_LINES),
    Case("lines-embeddings-two-models", {"job": "embeddings"}, _EMBEDDING_LINES),
    Case("lines-completions-two-models", {"job": "completions", "batch": {"max_items": 8}}, _COMPLETION_LINES),
    Case(
        "retries",
        {**COMPLETIONS, "batch": {"max_items": 5}, "retry": QUICK},
        texts(100),
        ("--script", "ok,server_error,unavailable,rate_limited_zero,ok,proxy_520,server_error,overloaded_503"),
    ),
    Case("halved-batches", {**EMBEDDINGS, "retry": QUICK}, _poisoned(100, 40), code=3),
    Case("failures-of-one", {**CHAT, "retry": QUICK}, _poisoned(30, 10), code=3),
    Case(
        "filtered-and-empty",
        {**CHAT, "limits": {"concurrency": 1}, "retry": QUICK},
        texts(12),
        ("--script", "ok,finish_content_filter,ok,null_content,refusal"),
        code=3,
    ),
    Case(
        "another-model-answers",
        {**COMPLETIONS, "batch": {"max_items": 4}},
        texts(40),
        ("--script", "ok,model_differs,ok,model_differs"),
    ),
    Case(
        "reasoning-beyond-its-limit",
        {**CHAT, "limits": {"concurrency": 2}},
        texts(12),
        ("--script", "ok,reasoning_overrun"),
    ),
    Case(
        "no-usage",
        {**COMPLETIONS, "batch": {"max_items": 4}},
        texts(40),
        ("--script", "ok,usage_missing,ok,usage_of_first,usage_negative"),
        exact=False,
    ),
    Case(
        "lost-answers",
        {**COMPLETIONS, "batch": {"max_items": 4}, "retry": QUICK, "budget": {"hard_usd": 1}},
        texts(60),
        ("--script", "ok,reset_mid_body,truncated_json,ok,close_before_response,bad_gateway,html"),
        exact=False,
    ),
    Case(
        "mixed-up-answers",
        {**EMBEDDINGS, "batch": {"max_items": 10}, "retry": QUICK},
        texts(60),
        ("--script", "ok,too_few,shuffled,duplicate_index"),
        exact=False,
    ),
    Case(
        "ended-by-its-budget",
        {**COMPLETIONS, "batch": {"max_items": 4}, "budget": {"hard_usd": 0.0005}},
        texts(120),
        code=4,
    ),
    Case(
        "killed-and-resumed",
        {**COMPLETIONS, "batch": {"max_items": 3}, "limits": {"concurrency": 8}, "budget": {"hard_usd": 1}},
        texts(240),
        ("--latency", "0.03"),
        exact=False,
        kills=(12, 40),
    ),
    Case("retried-dead-letters", {**EMBEDDINGS, "retry": QUICK}, _poisoned(80, 40), code=3, then=("retry",)),
)
