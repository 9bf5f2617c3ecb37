from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.builtin_files import builtin
from pipeline.config import fingerprint, load, schema, show
from tests.config.files import loaded

CANARY = "sk-canary0123456789abcdef"


def test_every_value_is_shown_with_its_origin(tmp_path: Path) -> None:
    more = r"""text: "{{ a }}\n\e"
budget: {hard_usd: 0.29}
max_failures: 5%
params: {a.b: [1]}
messages: [{role: user, content: x}]
"""
    run = loaded(tmp_path, more, {"limits.rpm": 5}, {"PIPELINE_TIMEOUT": "1m", "HOME": "/h"})
    shown = {}
    for line in show(run):
        key, rest = line.split(maxsplit=1)
        value, _, origin = rest.rstrip().rpartition("  ")
        shown[key] = (value.strip(), origin.replace(f"{tmp_path}/", ""))
    assert shown["job"] == ('"embeddings"', "run.yaml:1")
    assert shown["name"] == ('"run"', "default")
    assert shown["input.path"] == ('"in.jsonl"', "run.yaml:2")
    assert shown["text"] == ('"{{ a }}\\n\\u001b"', "run.yaml:5")
    assert shown["budget.hard_usd"] == ("0.29", "run.yaml:6")
    assert shown["max_failures"] == ("5%", "run.yaml:7")
    assert shown["params.a.b"] == ("[1]", "run.yaml:8")
    assert shown["messages"] == ('[{"role":"user","content":"x"}]', "run.yaml:9")
    assert shown["limits.rpm"] == ("5", "command line")
    assert shown["limits.concurrency"] == ("64", "default")
    assert shown["timeout"] == ("60.0", "PIPELINE_TIMEOUT")
    lines = builtin("endpoints.yaml").read_text().splitlines()
    assert shown["endpoint.base_url"][1] == f"{builtin('endpoints.yaml')}:{lines.index('simulator:') + 2}"


def test_without_origins_there_are_two_columns(tmp_path: Path) -> None:
    lines = show(loaded(tmp_path), origin=False)
    assert lines[0].split() == ["job", '"embeddings"']


def test_a_secret_is_shown_as_its_reference(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": CANARY}
    run = loaded(tmp_path, flags={"endpoint": "openai"}, environ=environ)
    text = "\n".join(show(run)) + repr(run)
    assert '"env:OPENAI_API_KEY"' in text
    assert CANARY not in text


def test_the_schema_names_every_key_and_says_what_it_is() -> None:
    found = json.loads(json.dumps(schema()))
    assert found["required"] == ["job", "endpoint", "input", "output"]
    assert found["additionalProperties"] is False
    assert found["properties"]["timeout"]["default"] == 600.0
    assert found["$defs"]["Limits"]["properties"]["rpm"]
    assert (
        found["$defs"]["Budget"]["properties"]["hard_usd"]["description"] == "The run stops before it could spend more."
    )


BASE = {"text": "{{ a }}", "model": "m"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("job", "completions"),
        ("model", "n"),
        ("params", "{dimensions: 5}"),
        ("text", "{{ b }}"),
        ("prompt", "p"),
        ("system", "s"),
        ("messages", "turns"),
        ("messages", "[{role: user, content: x}]"),
        ("input.id", "id"),
        ("output.keep", "[a]"),
        ("vectors", "base64"),
        ("too_long", "truncate"),
        ("max_output_tokens", 5),
        ("max_input_tokens", 5),
        ("endpoint", "openai"),
    ],
)
def test_what_changes_results_changes_the_fingerprint(tmp_path: Path, key: str, value: object) -> None:
    assert fingerprint(loaded(tmp_path, flags=BASE | {key: value})) != fingerprint(loaded(tmp_path, flags=BASE))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "other"),
        ("limits.rpm", 5),
        ("budget.hard_usd", 5),
        ("input.path", "elsewhere"),
        ("output.path", "elsewhere"),
        ("output.order", "done"),
        ("state", "elsewhere"),
        ("retry.attempts", 2),
        ("timeout", 5),
        ("limit", 5),
        ("batch.max_items", 5),
        ("tags.team", "x"),
        ("strict", True),
        ("max_failures", "5%"),
    ],
)
def test_what_does_not_change_results_keeps_the_fingerprint(tmp_path: Path, key: str, value: object) -> None:
    assert fingerprint(loaded(tmp_path, flags=BASE | {key: value})) == fingerprint(loaded(tmp_path, flags=BASE))


def test_the_order_of_parameters_is_not_part_of_the_fingerprint(tmp_path: Path) -> None:
    first, second = (
        loaded(tmp_path, f"params: {text}") for text in ("{a: 1, b: {c: 2, d: 3}}", "{b: {d: 3, c: 2}, a: 1}")
    )
    assert fingerprint(first) == fingerprint(second)


@pytest.mark.parametrize("name", ["demo", "embeddings", "completions", "chat"])
def test_the_configs_that_come_with_the_package_load(name: str) -> None:
    run = load(builtin(f"{name}.yaml"), {}, {})
    assert Path(run.config.input.path).is_file()
    assert run.config.output.path.startswith("out/")
