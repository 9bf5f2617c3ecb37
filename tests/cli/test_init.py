from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.init import _MODELS, init
from pipeline.config import Config, load
from pipeline.config.document import read_document
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


@pytest.mark.parametrize(("endpoint", "job"), list(_MODELS))
def test_every_line_that_is_commented_out_is_valid_too(job: str, endpoint: str) -> None:
    initialised("tickets", "--job", job, "--endpoint", endpoint)
    path = Path("configs/tickets.yaml")
    text, lines = re.subn(rf"(?m)^# ((?:{'|'.join(Config.model_fields)}): )", r"\1", path.read_text())
    path.write_text(text)

    config = load(path, {}, {}).config
    assert lines >= 4
    assert (config.budget.hard_nusd, config.limits.rpm, config.deadline) == (5_000_000_000, 3_000, 28_800.0)


def test_editors_find_the_schema_beside_the_config_and_it_takes_what_init_writes() -> None:
    initialised("tickets")
    initialised("topics", "--job", "chat")

    for name in ("tickets", "topics"):
        path = Path(f"configs/{name}.yaml")
        said = re.match(r"# yaml-language-server: \$schema=(.+)", path.read_text())
        assert said is not None
        schema = json.loads((path.parent / said[1]).read_text())
        jsonschema.Draft202012Validator(schema).validate(read_document(path).data)


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
