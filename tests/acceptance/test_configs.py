"""Every config that comes along is run to its end; the built-in server stands in for OpenAI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.builtin_files import builtin
from pipeline.config.document import read_document
from pipeline.storage.prices import load_price_book
from pipeline.types import Json
from tests.acceptance.command import pipeline, read_lines, write_config
from tests.config.test_schema import CONFIGS
from tests.judge import Judge

RECORDS = 500
"""Lines of the sample that the configs read."""
DIMENSIONS = 256
"""Of the built-in server's vectors."""


@pytest.fixture(scope="module")
def endpoints() -> list[str]:
    return list(read_document(builtin("endpoints.yaml")).data)


def as_openai(server: Judge) -> dict[str, str]:
    """What leads a run that means OpenAI to the built-in server."""
    return {**server.environment, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "a-test-key"}


def adapted(config: Json) -> list[str]:
    """The flags with which a config that means OpenAI runs against the built-in server, whose vectors are shorter."""
    wanted = config.get("params", {}).get("dimensions", 0)
    return ["--set", f"params.dimensions={DIMENSIONS}"] if wanted > DIMENSIONS else []


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_config_that_comes_along_runs_to_its_end(judge: Callable[..., Judge], tmp_path: Path, config: Path) -> None:
    server = judge("--engine", "hashing")
    changes = adapted(read_document(config).data)
    faster = ("--rpm", "60000", "--tpm", "60000000", "--yes", "--json")
    ended = pipeline("run", str(config), *changes, *faster, home=tmp_path, extra=as_openai(server))

    assert ended.code == 0, ended.err
    assert ended.summary["records"]["ok"] == RECORDS == len(read_lines(tmp_path / ended.summary["output"]))
    assert pipeline("check", str(config), *changes, home=tmp_path, extra=as_openai(server)).code == 0


def test_every_endpoint_that_comes_along_is_sound(tmp_path: Path, endpoints: list[str]) -> None:
    for name in endpoints:
        config = write_config(
            tmp_path, "c", job="chat", endpoint=name, input={"path": "in.jsonl"}, output={"path": "out.jsonl"}
        )
        checked = pipeline("config", "check", str(config), home=tmp_path)
        assert (checked.code, checked.err) == (0, ""), name


def test_the_prices_that_come_along_are_sound() -> None:
    book = load_price_book("simulator", [builtin("prices.yaml")])

    assert book.card("simulator-text-1", 1.8e9) is not None
