from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.errors import UsageError
from tests.config.files import loaded, refused


def test_an_unknown_key_is_named_with_the_nearest_right_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("configs/embed.yaml")
    path.parent.mkdir()
    path.write_text(
        "job: embeddings\nname: x\ninput: {path: a}\noutput: {path: b}\nendpoint: simulator\nmodel: m\n"
        "limits:\n  rpm: 3_000\n  tmp: 1_000_000\n",
        encoding="utf-8",
    )
    with pytest.raises(UsageError) as caught:
        load(path, {}, {})
    assert caught.value.message == "configs/embed.yaml:9: limits.tmp: unknown key (did you mean 'tpm'?)"
    assert caught.value.exit_code == 2


def test_all_that_is_wrong_is_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("modle: m\noutput:\n  ordre: done\nlimits: {rpm: fast}\njob: 5\nendpoint: x\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load(path, {"timeout": "-3"}, {"PIPELINE_RETRY_CAP": "soon", "PIPELINE_BUDGET_HARD_UDS": "5"})
    duration = "must be a duration up to 366 days: seconds, or 30s, 15m, 2h, 1d"
    assert caught.value.message.replace(f"{path}:", "").splitlines() == [
        "1: input: is missing",
        "1: modle: unknown key (did you mean 'model'?)",
        "2: output.path: is missing",
        "3: output.ordre: unknown key (did you mean 'order'?)",
        "4: limits.rpm: must be a whole number, such as 500 or 3_000",
        "5: job: must be text: put quotes around it",
        "environment: PIPELINE_BUDGET_HARD_UDS: unknown variable (did you mean 'PIPELINE_BUDGET_HARD_USD'?)",
        f"PIPELINE_RETRY_CAP: retry.cap: {duration}",
        f"command line: timeout: {duration}",
    ]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("rpm: 5", "rpm: unknown key (did you mean 'limits.rpm'?)"),
        ("hard_usd: 5", "hard_usd: unknown key (did you mean 'budget.hard_usd'?)"),
        ("zzz: 5", "zzz: unknown key"),
        ("<<: {model: x}", "<<: unknown key"),
        ("limits: 5", "limits: must be a mapping of keys to values, such as {rpm: …}"),
        ("limits: {rpm: 0}", "limits.rpm: must be at least 1"),
        ("limits: {rpm: -1}", "limits.rpm: must be at least 1"),
        ("limits: {rpm: 1.5}", "limits.rpm: must be a whole number, such as 500 or 3_000"),
        ("limits: {rpm: true}", "limits.rpm: must be a whole number, such as 500 or 3_000"),
        ('limits: {rpm: "5"}', "limits.rpm: must be a whole number, such as 500 or 3_000"),
        ("limits: {tpm: 10_000_000_000}", "limits.tpm: must be at most 1,000,000,000"),
        ("limits: {concurrency: 100_000}", "limits.concurrency: must be at most 10,000"),
        ("batch: {max_items: 0}", "batch.max_items: must be at least 1"),
        ("retry: {attempts: 0}", "retry.attempts: must be at least 1"),
        ("retry: {base: 5, cap: 1}", "retry: cap must not be below base"),
        ("timeout: 0", "timeout: must be above 0"),
        ("timeout: 0ms", "timeout: must be above 0"),
        ("strict: 1", "strict: must be true or false"),
        ("strict: yes", "strict: must be true or false"),
        ("too_long: truncat", "too_long: must be 'error' or 'truncate' (did you mean 'truncate'?)"),
        ("vectors: 5", "vectors: must be 'floats' or 'base64'"),
        ("model: 4", "model: must be text: put quotes around it"),
        ('model: ""', "model: must not be empty"),
        ("limit: 0", "limit: must be at least 1"),
        ("max_failures: 101%", "max_failures: must be a whole number from 0, or a share such as 5%"),
        ("messages: []", "messages: must not be empty"),
        ("messages: 5", "messages: must be a list, such as [a, b]"),
        ("messages: [hello]", "messages.0: must be a mapping of keys to values, such as {role: …}"),
        ("messages: [{role: user}]", "messages.0.content: is missing"),
        ("messages: [{role: me, content: x}]",
         "messages.0.role: must be 'system', 'developer', 'user' or 'assistant'"),
        ("params: [1]", "params: must be a mapping of keys to values"),
        ("params: {temperature: .nan}", "params.temperature: must be a finite number"),
        ("params: {stop: [1e999]}", "params.stop.0: must be a finite number"),
        ("tags: {team: 5}", "tags.team: must be text: put quotes around it"),
        ("budget: {hard_usd: 0}", "budget.hard_usd: must be above 0 and at most 1,000,000,000 US dollars"),
        ("budget: {hard_usd: -5}", "budget.hard_usd: must be above 0 and at most 1,000,000,000 US dollars"),
        ("budget: {hard_usd: 1e400}", "budget.hard_usd: must be above 0 and at most 1,000,000,000 US dollars"),
        ("budget: {hard_usd: NaN}", "budget.hard_usd: must be a number of US dollars, such as 5 or 0.25"),
        ("budget: {hard_usd: $5}", "budget.hard_usd: must be a number of US dollars, such as 5 or 0.25"),
        ('budget: {hard_usd: "5"}', "budget.hard_usd: must be a number of US dollars, such as 5 or 0.25"),
        ("budget: {hard_usd: 1, soft_usd: 2}", "budget: soft_usd must not be above hard_usd"),
        ('text: "{{ a }"', "text: line 1 of the template: unexpected '}'"),
        ("prompt: |\n  {{ a }}\n  {% if %}",
         "prompt: line 2 of the template: Expected an expression, got 'end of statement block'"),
        ('system: "{{ a | upcase }}"', "system: line 1 of the template: No filter named 'upcase'."),
        ("text: \"{% include 'x' %}\"", "text: a template cannot load another"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_in_plain_words(tmp_path: Path, more: str, problem: str) -> None:
    assert refused(tmp_path, more) == [f"run.yaml:5: {problem}"]


@pytest.mark.parametrize("job", ["../x", "/etc/x", "a.b", "a:b:c", "x\0y", "a b", ":X", "x:", "jobs/x", "os:path.join"])
def test_a_job_that_is_no_name_is_refused(tmp_path: Path, job: str) -> None:
    problem = "command line: job: must be the name of a file in jobs/, or your.module:YourJob"
    assert refused(tmp_path, flags={"job": job}) == [problem]


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "x\0", "..", ".", "", "a b", "x" * 65, "naïve", "a\n"])
def test_a_run_name_that_could_be_a_path_is_refused(tmp_path: Path, name: str) -> None:
    problem = "command line: name: must be 1 to 64 letters, digits, dots, dashes or underscores"
    assert refused(tmp_path, flags={"name": name}) == [problem]


@pytest.mark.parametrize("key", ["input.path", "output.path", "state"])
@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, key: str, path: str) -> None:
    assert refused(tmp_path, flags={key: path}) == [
        f"command line: {key}: must be the name of a file, or - for a standard stream"
    ]


CANARY = "sk-canary0123456789abcdef"


@pytest.mark.parametrize(
    ("more", "key"),
    [
        (f"text: {CANARY}", "text"),
        (f"params: {{x: [{{y: {CANARY}}}]}}", "params.x.0.y"),
        (f"tags: {{key: 'Bearer {CANARY}'}}", "tags.key"),
        (f"model: {CANARY}", "model"),
    ],
)
def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path, more: str, key: str) -> None:
    lines = refused(tmp_path, more)
    assert lines == [
        f"run.yaml:5: {key}: looks like a secret: a config holds only env:NAME or file:PATH, in endpoints.yaml"
    ]


def test_a_literal_secret_on_the_command_line_is_refused(tmp_path: Path) -> None:
    lines = refused(tmp_path, flags={"params.key": CANARY, "api_key": CANARY})
    assert len(lines) == 2
    assert all(line.startswith("command line: ") for line in lines)
    assert CANARY not in "".join(lines)


@pytest.mark.parametrize("field", ["api_key", "authorization", "headers", "extra_headers"])
def test_credentials_are_no_parameters(tmp_path: Path, field: str) -> None:
    problem = "credentials belong in endpoints.yaml, as env:NAME or file:PATH"
    assert refused(tmp_path, f"params: {{{field}: x}}") == [f"run.yaml:5: params.{field}: {problem}"]


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
@pytest.mark.parametrize("value", ["jo@example.com", "x" * 65])
def test_an_end_user_is_not_named_in_parameters(tmp_path: Path, field: str, value: str) -> None:
    problem = "must not name a person: give a hash of at most 64 characters"
    assert refused(tmp_path, f"params: {{{field}: {value}}}") == [f"run.yaml:5: params.{field}: {problem}"]
    assert loaded(tmp_path, f"params: {{{field}: {'a' * 64}}}").config.params == {field: "a" * 64}
