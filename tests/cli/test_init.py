from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.init import _MODELS, init
from pipeline.config import load
from pipeline.errors import UsageError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def initialised(*arguments: str) -> Result:
    return CliRunner().invoke(init, arguments, standalone_mode=False)


@pytest.mark.parametrize(("endpoint", "job"), list(_MODELS))
def test_what_init_writes_is_a_valid_config(job: str, endpoint: str) -> None:
    initialised("tickets", "--job", job, "--endpoint", endpoint)

    config = load(Path("configs/tickets.yaml"), {}, {}).config
    assert (config.job, config.endpoint, config.name) == (job, endpoint, "tickets")
    assert config.input.path == "data/tickets.jsonl"


def test_the_sample_input_has_three_records_with_the_id_that_the_config_names() -> None:
    initialised("tickets")

    name = load(Path("configs/tickets.yaml"), {}, {}).config.input.id
    records = [json.loads(line) for line in Path("data/tickets.jsonl").read_text().splitlines()]
    assert len({record[name] for record in records}) == 3


def test_a_job_that_the_endpoint_has_no_model_for_is_refused() -> None:
    assert isinstance(initialised("tickets", "--job", "completions").exception, UsageError)
    assert not list(Path().iterdir())


def test_init_says_what_comes_next() -> None:
    assert "pipeline run configs/tickets.yaml" in initialised("tickets").stdout


@pytest.mark.parametrize("name", ["configs/tickets.yaml", "data/tickets.jsonl"])
def test_init_overwrites_nothing(name: str) -> None:
    Path(name).parent.mkdir()
    Path(name).write_text("mine")

    assert isinstance(initialised("tickets").exception, UsageError)
    assert [path.read_text() for path in Path().rglob("*.*")] == ["mine"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/b", "", ".hidden", "-q", "a\nb", "x" * 65])
def test_a_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    assert initialised("--", name).exit_code != 0
    assert not list(Path().iterdir())
