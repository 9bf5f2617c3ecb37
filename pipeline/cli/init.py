"""`pipeline init`: a config and a sample input to start from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Template

import click

from pipeline.cli.process import program
from pipeline.cli.streams import say
from pipeline.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SAMPLE = (
    {"id": "a-1", "subject": "Invoice is wrong", "body": "I was charged twice in October."},
    {"id": "a-2", "subject": "Cannot log in", "body": "The mail with the link to my new password does not arrive."},
    {"id": "a-3", "subject": "Thank you", "body": "The replacement came a day early."},
)
_TASKS = {
    "embeddings": """text: "{{ subject }}\\n{{ body }}"

# Sent in every request as they are
# params: {dimensions: 512}""",
    "completions": """prompt: "Ticket: {{ body }}\\nOne-word topic:"

# The most tokens of an answer; it bounds what one can cost
max_output_tokens: 10

# Sent in every request as they are
# params: {temperature: 0}""",
    "chat": """system: "Answer with one word: billing, account or praise."
prompt: "{{ subject }}\\n{{ body }}"

# The most tokens of an answer, with what the model thinks before it; it bounds what one can cost
max_output_tokens: 500

# Sent in every request as they are
# params: {reasoning_effort: low}""",
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
_SCHEMA = "config.schema.json"
_TEMPLATE = Template("""\
# yaml-language-server: $$schema=$schema
# pipeline plan configs/$name.yaml    what it takes and costs; sends nothing
# pipeline run  configs/$name.yaml    runs it; the same command again carries on

# embeddings, completions, chat, moderations, or your.module:YourJob
job: $job

# One JSON object a line, also .gz and .zst. `id` names the field that tells records apart.
input: {path: data/$name.jsonl, id: id}

# The results; the file has this name once it is complete. `keep` repeats fields of the record.
output: {path: out/$name.jsonl, keep: [id]}

# A name in endpoints.yaml, or the built-in openai or simulator
endpoint: $endpoint
model: $model

# Jinja2, filled from each line
$task

# Records in one request
batch: {max_items: 20}

# Your account's limits, and when to stop; run again to go on
# limits: {rpm: 3_000, tpm: 1_000_000}
# budget: {hard_usd: 5}
# deadline: 8h
# max_failures: 5%
""")


def _name(_context: click.Context, _argument: click.Parameter, text: str) -> str:
    if not _NAME.fullmatch(text):
        raise click.BadParameter(f"{text!r}: use letters, digits, - and _, as it becomes the name of two files")
    return text


@click.command()
@click.argument("name", callback=_name)
@click.option("--job", type=click.Choice(list(_TASKS)), default="embeddings", show_default=True, help="What to do.")
@click.option(
    "--endpoint",
    type=click.Choice(["openai", "simulator"]),
    default="openai",
    show_default=True,
    help="Where; the simulator needs no key.",
)
def init(name: str, job: str, endpoint: str) -> None:
    """Write configs/NAME.yaml and a three-line data/NAME.jsonl to start from.

    And configs/config.schema.json, by which editors know the keys. Overwrites nothing.

    \b
    Examples:
        pipeline init tickets                              embeddings by OpenAI
        pipeline init topics --job chat
        pipeline init trial --endpoint simulator           without a key
    """
    if (endpoint, job) not in _MODELS:
        raise UsageError("OpenAI has no completions model any more: take --job chat, or try --endpoint simulator")
    config, data = Path("configs", f"{name}.yaml"), Path("data", f"{name}.jsonl")
    for path in (config, data):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already; choose another name")
    _write_new(config, _config(name, job, endpoint))
    _write_new(data, "".join(json.dumps(record) + "\n" for record in _SAMPLE))
    _write_schema(config.with_name(_SCHEMA))
    say(f"Wrote {config}, {data}, and {_SCHEMA} for editors. Next:\n\n{_next_steps(config, endpoint)}", err=False)


def _config(name: str, job: str, endpoint: str) -> str:
    model, task = _MODELS[endpoint, job], _TASKS[job]
    return _TEMPLATE.substitute(schema=_SCHEMA, name=name, job=job, endpoint=endpoint, model=model, task=task)


def _write_schema(path: Path) -> None:
    """Write the schema for editors; one that is there already may be newer than this program."""
    from pipeline.config import schema  # noqa: PLC0415 - brings pydantic

    if not path.exists() and not path.is_symlink():
        _write_new(path, json.dumps(schema(), indent=2) + "\n")


def _next_steps(config: Path, endpoint: str) -> str:
    first = "export OPENAI_API_KEY=…" if endpoint == "openai" else f"{program()} simulate --port 8010 &"
    return f"  {program()} plan {config}\n  {first}\n  {program()} run {config}"


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
