"""`pipeline init`: a config and a sample input to start from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from pipeline.cli.streams import say
from pipeline.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SAMPLE = (
    {"id": "a-1", "subject": "Invoice is wrong", "body": "I was charged twice in October."},
    {"id": "a-2", "subject": "Cannot log in", "body": "The mail with the link to my new password does not arrive."},
    {"id": "a-3", "subject": "Thank you", "body": "The replacement came a day early."},
)
_TASKS = {
    "embeddings": 'text: "{{ subject }}\\n{{ body }}"',
    "completions": 'prompt: "Ticket: {{ body }}\\nOne-word topic:"',
    "chat": 'system: "Answer with one word: billing, account or praise."\nprompt: "{{ subject }}\\n{{ body }}"',
    "moderations": 'text: "{{ subject }}\\n{{ body }}"',
}
_MODELS = {
    ("openai", "embeddings"): "text-embedding-3-small",
    ("openai", "chat"): "gpt-5.6-luna",
    ("openai", "moderations"): "omni-moderation-latest",
    ("simulator", "embeddings"): "simulator-wordllama-256",
    ("simulator", "completions"): "simulator-text-1",
    ("simulator", "chat"): "simulator-text-1",
    ("simulator", "moderations"): "simulator-moderation-1",
}
_TEMPLATE = """\
# pipeline plan configs/{name}.yaml    what it takes and costs; sends nothing
# pipeline run  configs/{name}.yaml    runs it; the same command again carries on

# embeddings, completions, chat, moderations, or your.module:YourJob
job: {job}

# One JSON object a line. `id` names the field that tells records apart; `keep` repeats fields in the results.
input: {{path: data/{name}.jsonl, id: id}}
output: {{path: out/{name}.jsonl, keep: [id]}}

{endpoint}

# Jinja2, filled from each line
{task}

# Records in one request
batch: {{max_items: 20}}

# Your account's limits, and the most that may ever be spent
# limits: {{rpm: 3_000, tpm: 1_000_000}}
# budget: {{hard_usd: 5}}
"""


def _name(_context: click.Context, _argument: click.Parameter, text: str) -> str:
    if not _NAME.fullmatch(text):
        raise click.BadParameter(f"{text!r}: use letters, digits, - and _, as it becomes the name of two files")
    return text


@click.command()
@click.argument("name", callback=_name)
@click.option("--job", type=click.Choice(list(_TASKS)), default="embeddings", show_default=True)
@click.option("--endpoint", type=click.Choice(["openai", "simulator"]), default="openai", show_default=True)
def init(name: str, job: str, endpoint: str) -> None:
    """Write configs/NAME.yaml and a three-line data/NAME.jsonl. Overwrites nothing.

    Example: pipeline init tickets
    """
    if (endpoint, job) not in _MODELS:
        raise UsageError("OpenAI has no completions model any more: take --job chat, or try --endpoint simulator")
    config, data = Path("configs", f"{name}.yaml"), Path("data", f"{name}.jsonl")
    for path in (config, data):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already; choose another name")
    _write_new(config, _config(name, job, endpoint))
    _write_new(data, "".join(json.dumps(record) + "\n" for record in _SAMPLE))
    say(f"Wrote {config} and {data}. Next:\n\n{_next_steps(config, endpoint)}", err=False)


def _config(name: str, job: str, endpoint: str) -> str:
    chosen = f"endpoint: {endpoint}\nmodel: {_MODELS[endpoint, job]}"
    return _TEMPLATE.format(name=name, job=job, endpoint=chosen, task=_TASKS[job])


def _next_steps(config: Path, endpoint: str) -> str:
    first = "export OPENAI_API_KEY=…" if endpoint == "openai" else "pipeline simulate --port 8010 &"
    return f"  pipeline plan {config}\n  {first}\n  pipeline run {config}"


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
