from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import load
from pipeline.config.paths import Filling, filled, fixed_folder, moment_of, moves
from pipeline.errors import UsageError


def write(folder: Path, **keys: str) -> Path:
    """Write a config with these keys, as YAML."""
    path = folder / "job.yaml"
    given = {"job": "embeddings", "endpoint": "simulator", "output": "{path: out.jsonl}", **keys}
    path.write_text("".join(f"{key}: {value}\n" for key, value in given.items()))
    return path


AT = Filling("/etc/jobs", "/home/me", datetime(2026, 3, 1, 2, 30, 5).astimezone())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/{date}.jsonl", "data/2026-03-01.jsonl"),
        ("data/{yesterday}.jsonl", "data/2026-02-28.jsonl"),
        ("out/{now:%Y/%m}/{now:%H%M%S}.jsonl", "out/2026/03/023005.jsonl"),
        ("{here}/{date}", "/etc/jobs/2026-03-01"),
        ("~/x-{date}", "/home/me/x-2026-03-01"),
        ("a{{date}}b", "a{date}b"),
        ("100%.jsonl", "100%.jsonl"),
        ("{now:100%%}", "100%"),
    ],
)
def test_braces_are_filled_with_the_moment_of_the_run(path: str, expected: str) -> None:
    assert filled(path, AT) == expected


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("{dat}", r"knows no {dat} \(did you mean '{date}'\?\)"),
        ("{Here}/x", r"knows no {Here} \(did you mean '{here}'\?\)"),
        ("{}", "knows no {}"),
        ("{now}", "knows no {now}"),
        ("a{b", "has a lone {: write {{ for a brace in a name"),
        ("a}b", "has a lone }: write }} for"),
        ("{now:%B}", "{now:%B}: %B is no form of a moment; there are %Y, %m, %d"),
        ("{now:%", "has a lone {"),
        ("{now:5%}", "% is no form"),
        ("{now:}", "it is no form of a moment"),
    ],
)
def test_braces_with_anything_else_are_refused(path: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        filled(path, AT)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_name_can_be_written(name: str) -> None:
    assert filled("./" + name.replace("{", "{{").replace("}", "}}"), AT) == "./" + name


def test_what_is_filled_in_is_not_looked_through_again() -> None:
    assert filled("{here}/x", AT._replace(here="/a{date}")) == "/a{date}/x"


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("out/{date}.jsonl", "out"),
        ("out/{now:%Y/%m}/x.jsonl", "out"),
        ("out/a-{date}/x.jsonl", "out"),
        ("{here}/out/{date}", "{here}/out"),
        ("{date}", "."),
        ("/{date}", "/"),
        ("a/b.jsonl", "a"),
    ],
)
def test_the_folder_that_stays_ends_before_the_first_moment(path: str, folder: str) -> None:
    assert fixed_folder(path) == folder
    assert moves(path) == ("date" in path or "now" in path)


def test_a_moment_is_a_day_or_a_day_with_a_time() -> None:
    assert moment_of("2026-11-25").replace(tzinfo=None).isoformat() == "2026-11-25T00:00:00"
    assert moment_of("2026-11-25T02:30").hour == 2
    for text in ("yesterday", "25.11.2026", "", "9999-99-99", "0001-01-01T00:00+14:00"):
        with pytest.raises(ValueError, match="must be a day such as 2026-11-25"):
            moment_of(text)


def test_flag_and_variable_say_what_the_date_is(tmp_path: Path) -> None:
    config = write(tmp_path, input="{path: 'in-{date}.jsonl'}", output="{path: 'out-{now:%m}.jsonl'}")
    by_flag = load(config, {"now": "2026-11-25"}, {"PIPELINE_NOW": "2025-01-01"})
    by_variable = load(config, {}, {"PIPELINE_NOW": "2025-01-01T10:00"})

    assert (by_flag.config.input.path, by_flag.config.output.path) == ("in-2026-11-25.jsonl", "out-11.jsonl")
    assert by_variable.config.input.path == "in-2025-01-01.jsonl"
    assert by_variable.moment == "2025-01-01T10:00:00"


def test_the_date_is_that_of_this_machine_today(tmp_path: Path) -> None:
    before = datetime.now().astimezone().date()
    found = load(write(tmp_path, input="{path: '{date}'}"), {}, {}).config.input.path

    assert found in {f"{before}", f"{datetime.now().astimezone().date()}"}


def test_a_wrong_date_and_a_wrong_brace_name_file_line_and_key(tmp_path: Path) -> None:
    config = write(tmp_path, input="{path: '{data}/x'}")
    with pytest.raises(UsageError) as refused:
        load(config, {"now": "today"}, {})

    lines = refused.value.message.splitlines()
    assert lines[0].endswith("input.path: knows no {data} (did you mean '{date}'?)")
    assert lines[1] == "command line: now: must be a day such as 2026-11-25, or with a time 2026-11-25T02:30"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"input": "{path: a.jsonl, since_last: true}", "output": "{path: 'o/{date}'}"}, "takes files of a folder"),
        ({"input": "{path: 'i/*', since_last: true}", "output": "{path: o.jsonl}"}, "needs an output of its own"),
        ({"input": "{path: 'i/*', since_last: true}", "output": "{path: 'o/{date}'}", "state": "s"}, "needs a state"),
        ({"input": "{path: 'i/*', since_last: true}", "output": "{path: 'o/{date}'}", "limit": "3"}, "takes whole"),
    ],
)
def test_files_since_the_last_run_need_an_output_for_each_run(
    tmp_path: Path, keys: dict[str, str], problem: str
) -> None:
    with pytest.raises(UsageError, match=f"input.since_last: {problem}"):
        load(write(tmp_path, **keys), {}, {})


def test_what_was_taken_is_remembered_beside_the_outputs(tmp_path: Path) -> None:
    keys = {"input": "{path: 'i/*', since_last: true}", "output": "{path: '{here}/o/{now:%Y/%m}/x'}"}

    assert load(write(tmp_path, **keys), {}, {}).config.input.taken == f"{tmp_path}/o/job.taken"
