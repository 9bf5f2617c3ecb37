from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import Message, Origin, load
from pipeline.config.quantities import FailureLimit
from pipeline.errors import UsageError
from tests.config.files import MINIMAL, config_file, loaded, refused


def test_the_design_page_example_loads(tmp_path: Path) -> None:
    path = tmp_path / "tickets.yaml"
    path.write_text(
        """\
job: embeddings
input:  {path: data/tickets.jsonl, id: ticket_id}
output: {path: out/tickets.jsonl, keep: [ticket_id, subject], order: input}
endpoint: openai
model: text-embedding-3-small
text: "{{ subject }}\\n{{ body }}"
params: {dimensions: 512}
batch:  {max_items: 20, max_tokens: 100_000}
limits: {rpm: 3_000, tpm: 1_000_000, per_second: 60, concurrency: 64}
retry:  {attempts: 6, base: 0.5, cap: 60, max_wait: 15m}
budget: {hard_usd: 5, soft_usd: 4}
""",
        encoding="utf-8",
    )
    config = load(path, {}, {}).config
    assert (config.job, config.name, config.model) == ("embeddings", "tickets", "text-embedding-3-small")
    assert (config.input.path, config.input.id) == ("data/tickets.jsonl", "ticket_id")
    assert (config.output.keep, config.output.order) == (("ticket_id", "subject"), "input")
    assert config.text == "{{ subject }}\n{{ body }}"
    assert config.params == {"dimensions": 512}
    assert (config.batch.max_items, config.batch.max_tokens) == (20, 100_000)
    assert config.limits.model_dump() == {"rpm": 3_000, "tpm": 1_000_000, "per_second": 60, "concurrency": 64}
    assert (config.retry.attempts, config.retry.base, config.retry.cap, config.retry.max_wait) == (6, 0.5, 60.0, 900.0)
    assert (config.budget.hard_nusd, config.budget.soft_nusd) == (5_000_000_000, 4_000_000_000)


def test_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    config = loaded(tmp_path).config
    assert config.name == "run"
    assert (config.batch.max_items, config.batch.max_tokens, config.limits.concurrency) == (20, 100_000, 64)
    assert config.retry.model_dump() == {"attempts": 6, "base": 0.5, "cap": 60, "max_wait": 900, "max_outage": 1800}
    assert (config.timeout, config.drain, config.lock_wait, config.deadline) == (600, 30, 0, None)
    assert (config.budget.hard_nusd, config.budget.soft_nusd, config.budget.confirm_above_nusd) == (None, None, None)
    assert config.most_failures(1_000_000) is None


def test_a_config_cannot_be_changed(tmp_path: Path) -> None:
    config = loaded(tmp_path).config
    with pytest.raises(ValidationError, match="frozen"):
        config.limits.rpm = 5


def test_messages_are_a_field_or_pairs_of_role_and_template(tmp_path: Path) -> None:
    assert loaded(tmp_path, "messages: turns").config.messages == "turns"
    pairs = loaded(tmp_path, "messages:\n- {role: system, content: Be kind.}\n- {role: user, content: '{{ q }}'}")
    assert pairs.config.messages == (
        Message(role="system", content="Be kind."),
        Message(role="user", content="{{ q }}"),
    )


def test_a_key_without_a_value_is_absent_but_a_parameter_may_be_null(tmp_path: Path) -> None:
    config = loaded(tmp_path, "budget:\n  # hard_usd: 5\nlimits: {rpm: }\nparams: {seed: null}").config
    assert config.budget.hard_usd is None
    assert config.limits.rpm is None
    assert config.params == {"seed": None}


def test_paths_know_their_config_and_the_home(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    text = MINIMAL.replace("in.jsonl", '"{here}/in.jsonl"').replace("out.jsonl", "~/out.jsonl")
    path.write_text(text + "state: state/x", encoding="utf-8")
    config = load(path, {}, {"HOME": "/home/jo"}).config
    assert config.input.path == f"{tmp_path}/in.jsonl"
    assert config.output.path == "/home/jo/out.jsonl"
    assert config.state == "state/x"


def test_without_a_home_everything_else_works(tmp_path: Path) -> None:
    config = loaded(tmp_path, flags={"output.path": "~/x"}, environ={}).config
    assert config.output.path == "~/x"


def test_max_failures_may_be_a_share(tmp_path: Path) -> None:
    config = loaded(tmp_path, "max_failures: 5%").config
    assert config.max_failures == FailureLimit(share=Decimal("0.05"))
    assert config.most_failures(200) == 10


ORDER = ["flag", "environment", "dotenv", "file", "default"]


@pytest.mark.parametrize("first", range(5))
def test_each_layer_wins_over_those_below(tmp_path: Path, first: int) -> None:
    present = ORDER[first:]
    if "dotenv" in present:
        (tmp_path / ".env").write_text("PIPELINE_BATCH_MAX_ITEMS=3\n", encoding="utf-8")
    run = loaded(
        tmp_path,
        "batch: {max_items: 4}" if "file" in present else "",
        {"batch.max_items": "1"} if "flag" in present else {},
        {"PIPELINE_BATCH_MAX_ITEMS": "2"} if "environment" in present else {},
    )
    assert run.config.batch.max_items == [1, 2, 3, 4, 20][first]
    assert (
        run.origins["batch.max_items"]
        == [
            Origin("command line"),
            Origin("PIPELINE_BATCH_MAX_ITEMS"),
            Origin(f"{tmp_path}/.env: PIPELINE_BATCH_MAX_ITEMS"),
            Origin(str(tmp_path / "run.yaml"), 5),
            Origin("default"),
        ][first]
    )
    assert run.origins["batch.max_tokens"] == Origin("default")


def test_an_override_changes_one_key_of_a_group(tmp_path: Path) -> None:
    run = loaded(tmp_path, "limits: {rpm: 5, tpm: 6}", {"limits.rpm": 7, "params.a.b": "[1]"})
    assert (run.config.limits.rpm, run.config.limits.tpm, run.config.params) == (7, 6, {"a": {"b": [1]}})
    assert str(run.origins["limits.tpm"]) == f"{tmp_path}/run.yaml:5"
    assert str(run.origins["params.a.b"]) == "command line"


def test_an_override_may_take_a_value_back(tmp_path: Path) -> None:
    run = loaded(tmp_path, "budget: {hard_usd: 5}", {"budget.hard_usd": "null"})
    assert run.config.budget.hard_usd is None
    assert run.origins["budget.hard_usd"] == Origin("default")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("model", "4", "4"),
        ("model", "true", "true"),
        ("text", "{{ a }}: [", "{{ a }}: ["),
        ("output.order", "done", "done"),
        ("input.id", "null", "null"),
        ("strict", "true", True),
        ("timeout", "15m", 900.0),
        ("timeout", "0.5", 0.5),
        ("output.keep", "[a, b]", ("a", "b")),
        ("budget.hard_usd", "1e-6", Decimal("1E-6")),
        ("limits.rpm", "3_000", 3_000),
        ("params", "{n: 2}", {"n": 2}),
    ],
)
def test_a_text_on_the_command_line_is_read_as_its_key_needs(
    tmp_path: Path, key: str, text: str, value: object
) -> None:
    config: object = loaded(tmp_path, flags={key: text}).config
    for part in key.split("."):
        config = getattr(config, part)
    assert config == value


def test_an_override_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, flags={"params.stop": "[1"}) == [
        "command line: params.stop: the [ that opens here is not closed, or a comma is missing in it"
    ]


@pytest.mark.parametrize("key", ["model.x", "messages.0.role"])
def test_an_override_inside_a_plain_value_is_refused(tmp_path: Path, key: str) -> None:
    more = "model: m\nmessages: [{role: user, content: x}]"
    assert refused(tmp_path, more, {key: "y"}) == [f"command line: {key}: lies inside a value that has no keys"]


def test_an_empty_variable_sets_nothing_and_state_is_a_place_of_its_own(tmp_path: Path) -> None:
    run = loaded(tmp_path, "model: m", environ={"PIPELINE_MODEL": "", "PIPELINE_STATE": "/x", "PIPELINE_ID": "ci-7"})
    assert run.config.model == "m"
    assert run.config.state is None


def test_a_misspelt_variable_of_the_dotenv_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PIPELINE_LIMITS_TMP=5\n", encoding="utf-8")
    assert refused(tmp_path) == [".env: PIPELINE_LIMITS_TMP: unknown variable (did you mean 'PIPELINE_LIMITS_TPM'?)"]


def test_the_dotenv_stays_out_of_the_process(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('export A_KEY_OF_MINE="${HOME}/x"\nOTHER=1\n', encoding="utf-8")
    run = loaded(tmp_path, environ={"OTHER": "2"})
    assert (run.environ["A_KEY_OF_MINE"], run.environ["OTHER"]) == ("${HOME}/x", "2")
    assert "A_KEY_OF_MINE" not in os.environ
    assert "A_KEY_OF_MINE" not in repr(run)


def test_a_dotenv_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=1\nB=\xff\n")
    assert refused(tmp_path) == [".env:2: is not UTF-8: save it as that"]


def test_the_name_of_the_file_must_do_as_a_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name: must be 1 to 64 letters"):
        load(config_file(tmp_path, name="my run.yaml"), {}, {})
    assert load(config_file(tmp_path, "name: my-run", name="my run.yaml"), {}, {}).config.name == "my-run"


def test_a_relative_config_works_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load(Path("run.yaml"), {"input.path": "{here}/a"}, {}).config.input.path == "./a"


@pytest.mark.parametrize("text", ["", "  ", "# a remark"])
def test_an_empty_text_on_the_command_line_does_not_take_a_budget_away(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"budget\.hard_usd: is empty"):
        loaded(tmp_path, flags={"budget.hard_usd": text})
