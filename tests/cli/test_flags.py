from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.flags import FLAGS, again, config_and_flags, overrides
from pipeline.types import Json


@click.command()
@config_and_flags
def probe(config: Path, **values: Json) -> None:
    click.echo(repr((config, overrides(values))))


def parsed(*arguments: str) -> Json:
    """What a command is given for these arguments."""
    done = CliRunner().invoke(probe, arguments)
    assert done.exit_code == 0, done.output
    return eval(done.output, {"PosixPath": Path})  # noqa: S307 - our own repr


def test_no_flag_sets_no_key() -> None:
    assert parsed("c.yaml") == (Path("c.yaml"), {})


def test_every_flag_sets_its_key() -> None:
    flags = (
        "-i in.jsonl -o - --limit 10 --rpm 500 --tpm 1000 --per-second 60 --concurrency 8 --batch-size 20 --retries 3 "
        "--timeout 30s --deadline 2h --budget 0.50 --max-failures 5% --strict --order done --state s --lock-wait 1m "
        "--drain 5"
    )

    assert parsed("c.yaml", *flags.split())[1] == {
        "input.path": "in.jsonl",
        "output.path": "-",
        "limit": 10,
        "limits.rpm": 500,
        "limits.tpm": 1000,
        "limits.per_second": 60,
        "limits.concurrency": 8,
        "batch.max_items": 20,
        "retry.attempts": 3,
        "timeout": "30s",
        "deadline": "2h",
        "budget.hard_usd": "0.50",
        "max_failures": "5%",
        "strict": True,
        "output.order": "done",
        "state": "s",
        "lock_wait": "1m",
        "drain": "5",
    }


def test_set_takes_any_key_and_a_value_with_equals_signs() -> None:
    assert parsed("c.yaml", "--set", "params.user=a=b", "--set", "retry.cap=5")[1] == {
        "params.user": "a=b",
        "retry.cap": "5",
    }


def test_a_flag_comes_before_set() -> None:
    assert parsed("c.yaml", "--rpm", "5", "--set", "limits.rpm=7")[1] == {"limits.rpm": 5}


@pytest.mark.parametrize("text", ["limits.rpm", "=5", ""])
def test_set_without_key_and_value_is_refused(text: str) -> None:
    done = CliRunner().invoke(probe, ["c.yaml", "--set", text])

    assert done.exit_code == 2
    assert "KEY=VALUE" in done.output


@given(
    st.dictionaries(
        st.sampled_from(["input.path", "output.path", "budget.hard_usd", "state", "params.user", "text"]),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    )
)
def test_what_is_typed_again_means_the_same(given: dict[str, str]) -> None:
    words = shlex.split(again("run", Path("my config.yaml"), given))

    assert words[:2] == ["pipeline", "run"]
    assert parsed("--", *words[2:3])[0] == Path("my config.yaml")
    values = {flag.parameter: None for flag in FLAGS} | {"assignments": ()}
    context = probe.make_context("probe", words[2:])
    assert overrides({**values, **context.params}) == given


def test_a_truth_is_typed_again_as_a_flag_alone() -> None:
    assert again("retry", Path("c.yaml"), {"strict": True, "limits.rpm": 5}) == "pipeline retry c.yaml --rpm 5 --strict"
