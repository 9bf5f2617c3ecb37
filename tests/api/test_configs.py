from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from pipeline import Keys, Loaded, UsageError, load
from pipeline.api.configs import _SHORT
from pipeline.config import Config, show
from pipeline.types import Json

KEYS: Json = {"job": "chat", "endpoint": "simulator", "model": "m", "prompt": "{{ text }}"}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(**keys: Json) -> Loaded:
    return load({**KEYS, "input": {"path": "in.jsonl"}, "output": {"path": "out/a.jsonl"}}, environ={}, **keys)


def test_every_key_of_a_config_is_a_keyword() -> None:
    assert Keys.__annotations__.keys() == {*Config.model_fields, *_SHORT}


def test_groups_are_merged_and_other_values_replaced() -> None:
    path = Path("c.yaml")
    path.write_text(
        "job: chat\nendpoint: simulator\ninput: {path: in.jsonl, id: id}\noutput: {path: out.jsonl}\n"
        "limits: {rpm: 5, tpm: 6}\nparams: {n: 1, stop: x}\n"
    )
    config = load(path, environ={}, limits={"rpm": 7}, params={"n": 2}, input=Path("other.jsonl"), keep=("a",)).config

    assert (config.limits.rpm, config.limits.tpm) == (7, 6)
    assert config.params == {"n": 2}
    assert (config.input.path, config.input.id, config.output.keep) == ("other.jsonl", "id", ("a",))


def test_arguments_come_before_the_environment_and_that_before_the_mapping() -> None:
    environ = {"PIPELINE_TIMEOUT": "60", "PIPELINE_DRAIN": "5"}
    config = load(
        {**KEYS, "input": {"path": "i"}, "output": {"path": "o"}, "drain": 1}, environ=environ, timeout=7
    ).config

    assert (config.timeout, config.drain) == (7.0, 5.0)


@pytest.mark.parametrize("text", ["123", "true", "null", "[a]", "{{ a }}", "1e5"])
def test_a_text_is_never_read_as_yaml(text: str) -> None:
    assert loaded(params={"stop": text}, tags={"team": text}).config.params == {"stop": text}


def test_money_keeps_its_digits() -> None:
    assert loaded(budget_usd=Decimal("0.29")).config.budget.hard_nusd == 290_000_000


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"output": "out/tickets.jsonl"}, "tickets"),
        ({"output": "out/two words.jsonl"}, "two-words"),
        ({"state": "runs/first"}, "first"),
        ({"output": "x.jsonl", "name": "mine"}, "mine"),
    ],
)
def test_a_mapping_is_named_by_its_output(keys: Json, name: str) -> None:
    assert load({**KEYS, "input": {"path": "in.jsonl"}}, environ={}, **keys).config.name == name


def test_where_a_value_came_from_is_known() -> None:
    shown = "\n".join(show(loaded(limits={"rpm": 5})))

    assert "limits.rpm" in shown
    assert [line.split()[-1] for line in shown.splitlines() if line.startswith(("limits.rpm", "model"))] == [
        "config",
        "argument",
    ]


def test_endpoints_and_variables_lie_in_the_working_directory() -> None:
    Path("endpoints.yaml").write_text("mine: {base_url: 'https://h', api_key: env:A_KEY}\n")
    Path(".env").write_text("A_KEY=k\n")
    Path(".env").chmod(0o600)
    run = loaded(endpoint="mine")

    assert (run.endpoint.base_url, run.environ["A_KEY"]) == ("https://h", "k")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"limits": {"rpm": "5"}}, "argument: limits.rpm: must be a whole number, such as 500 or 3_000"),
        ({"limits": 5}, "argument: limits: must be a mapping of keys to values, such as {rpm: …}"),
        ({"lmit": 5}, "argument: lmit: unknown key (did you mean 'limit'?)"),
        ({"prompt": "{{ a"}, "argument: prompt: line 1 of the template: unexpected end of template"),
        ({"endpoint": "opnai"}, "argument: endpoint: no endpoint 'opnai' in endpoints.yaml (did you mean 'openai'?)"),
        ({"params": {"api_key": "x"}}, "argument: params.api_key: credentials belong in endpoints.yaml, as env:NAME"),
    ],
)
def test_what_is_wrong_is_named_by_its_argument(keys: Json, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(**keys)
    assert caught.value.message.startswith(problem)
