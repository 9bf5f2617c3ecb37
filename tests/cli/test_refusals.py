from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.app import pipeline
from pipeline.cli.failure import exit_code_of

CONFIG = """\
job: embeddings
input: {path: in.jsonl}
output: {path: out.jsonl}
endpoint: simulator
model: simulator-hashing-256
text: "{{ text }}"
retry: {max_outage: 1}
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(CONFIG)
    Path("in.jsonl").write_text('{"text": "one"}\n')


def typed(*arguments: str) -> int:
    return exit_code_of(lambda: pipeline.main(arguments, "pipeline", standalone_mode=False))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run absent.yaml", "absent.yaml: "),
        ("run c.yaml -i absent.jsonl", "absent.jsonl"),
        ("run c.yaml -o in.jsonl", "is the input itself"),
        ("run c.yaml -o -", "--state DIR"),
        ("run c.yaml --set limits.tmp=5", "(did you mean 'tpm'?)"),
        ("run c.yaml --set limits", "KEY=VALUE"),
        ("run c.yaml --budget free", "command line: budget.hard_usd: "),
        ("run c.yaml --budget 0", "command line: budget.hard_usd: "),
        ("run c.yaml --rpm 0", "command line: limits.rpm: "),
        ("run c.yaml --max-failures 5%%", "command line: max_failures: "),
        ("plan c.yaml --timeout soon", "command line: timeout: "),
        ("retry c.yaml --where timeout", "is none of code=timeout, code=rate_*, line=17, line=10-20, id=ticket-7"),
        ("retry c.yaml --where line=0", "line=10-20"),
        ("retry c.yaml --where line=10-", "line=10-20"),
        ("retry c.yaml --where message=x", "code=timeout"),
        ("retry c.yaml --where code=", "code=timeout"),
        ("check absent.jsonl", "absent.jsonl"),
        ("config show absent.yaml", "absent.yaml: "),
        ("status c.yaml --state=", "command line: state: "),
        ("nonsense", "No such command 'nonsense'."),
        ("stauts c.yaml", "No such command 'stauts'. (Did you mean 'status'?)"),
    ],
)
def test_what_is_refused_is_exit_2_and_says_why(
    arguments: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert typed(*arguments.split()) == 2

    shown = capfd.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert sorted(path.name for path in Path().iterdir()) == ["c.yaml", "in.jsonl"]


def test_a_config_shows_where_its_values_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("config", "show", "c.yaml", "--rpm", "7", "--origin") == 0

    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["limits.rpm"] == ["7", "command", "line"]
    assert rows["job"] == ['"embeddings"', "c.yaml:1"]


def test_a_config_is_checked_without_its_input(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.jsonl").unlink()

    assert typed("config", "check", "c.yaml") == 0
    assert capsys.readouterr().out == "c.yaml: ok (embeddings with simulator-hashing-256)\n"


def test_the_schema_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("config", "schema") == 0
    assert '"hard_usd"' in capsys.readouterr().out
