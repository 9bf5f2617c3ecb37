from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from pipeline.cli.plan_block import plan_block
from pipeline.cli.reading import reading_line
from pipeline.config import Shutdown
from pipeline.planning import Cost, Duplicates, Plan, Sampled
from tests.cli.command import COMMAND, environment, run

MADE = Plan(
    name="tickets",
    model="gpt-5.6-luna",
    records=10_000,
    bad={},
    requests=10_000,
    tokens_input=1_200_000,
    tokens_output_bound=1_000_000,
    seconds=1200.0,
    bound_by="requests",
    cost_nusd=240_000_000,
    cost_bound_nusd=1_500_000_000,
    price_source="genai-prices 0.2.3 of 2026-11-10",
    exact=True,
    cost_least_nusd=24_000_000,
    cost=Cost(240_000_000, 24_000_000, 1_200_000_000, 24_000_000, 1_500_000_000, "genai-prices 0.2.3 of 2026-11-10"),
    batch_api=Cost(120_000_000, 12_000_000, 600_000_000, 12_000_000, 750_000_000, "genai-prices 0.2.3 of 2026-11-10"),
    seconds_by={"requests": 1200.0, "tokens": 132.0},
    seconds_per_latency=156.25,
)


def rows(made: Plan) -> dict[str, str]:
    return {line[2:11].strip(): line[12:] for line in plan_block(made).splitlines()[1:]}


def changed(**changes: object) -> dict[str, str]:
    return rows(Plan(**{**{name: getattr(MADE, name) for name in MADE.__slots__}, **changes}))


def test_a_plan_says_records_requests_tokens_time_and_cost_with_its_source() -> None:
    assert plan_block(MADE) == (
        "tickets: gpt-5.6-luna; nothing was sent\n"
        "  records   10,000\n"
        "  requests  10,000\n"
        "  tokens    1.2M in, at most 1M out\n"
        "  time      at least 20m00s, bound by the limit of requests "
        "(tokens: 2m12s, concurrency: 2m36s for each second of an answer)\n"
        "  cost      $0.2400 for the input; from $0.0240 to $1.50 in all (genai-prices 0.2.3 of 2026-11-10)\n"
        "            the input at most $0.2160 less where it is cached, the output at most $1.20\n"
        "  batch API $0.0120 to $0.7500: what the Batch API would cost (genai-prices 0.2.3 of 2026-11-10)"
    )


def test_a_cost_that_is_known_exactly_is_one_sum() -> None:
    source = "genai-prices 0.2.3 of 2026-11-10"
    cost = Cost(240_000_000, 240_000_000, 0, 240_000_000, 240_000_000, source)
    found = changed(cost_least_nusd=240_000_000, cost_bound_nusd=240_000_000, cost=cost, tokens_output_bound=0)

    assert (found["cost"], found["tokens"]) == (f"$0.2400 ({source})", "1.2M in")
    assert "" not in found


def test_an_unknown_price_is_said() -> None:
    found = changed(cost_nusd=None, cost_bound_nusd=None, cost_least_nusd=None, cost=None, batch_api=None)

    assert found["cost"] == "unknown: no price is known for this model"
    assert "batch API" not in found


def test_an_output_that_nothing_bounds_is_said() -> None:
    found = changed(tokens_output_bound=None, cost_bound_nusd=None)

    assert found["tokens"].endswith("nothing bounds the output (set max_output_tokens)")
    assert found["cost"].startswith("$0.2400 for the input, and nothing bounds the output (genai-prices")


def test_what_is_settled_is_set_apart() -> None:
    assert changed(settled=4000)["settled"] == "4,000 by earlier runs; what follows is of the 6,000 that are left"


def test_dead_letters_from_the_start_are_named_with_their_first_places() -> None:
    bad = {"too_long": 2, "json_array": 7}
    found = changed(bad=bad, bad_examples={"too_long": ["in:7", "in:9"], "json_array": ["in:1", "in:2", "in:3"]})

    assert found["failing"] == (
        "9 become dead letters without being sent: json_array: 7 (in:1, in:2, in:3); too_long: 2 (in:7, in:9)"
    )


def test_records_that_are_cut_or_repeated_are_said() -> None:
    found = changed(too_long=12, duplicates=Duplicates(300, 9000, 1_800_000, exact=False))

    assert found["too long"] == "12 are cut to what the model takes"
    assert found["repeated"] == "about 300 say what an earlier one says; about $0.0018 of the input's cost"


def test_a_time_that_no_limit_bounds_is_said_to_be_the_endpoints() -> None:
    found = changed(seconds=0.0, bound_by="concurrency", seconds_by={})

    assert found["time"] == (
        "not bound by a known limit, but by the endpoint and `concurrency`: 2m36s for each second of an answer"
    )


def test_what_the_settled_records_cost_is_what_the_rest_is_expected_to() -> None:
    assert changed(cost_expected_nusd=400_000_000)["so far"] == (
        "about $0.4000, if the rest costs what the settled records did on average"
    )


def test_a_model_that_is_switched_off_is_a_warning() -> None:
    found = changed(shutdowns=[Shutdown("gpt-4o", "2020-01-14", "gpt-6-luna", "2026-11-20")])

    assert found["warning"] == (
        "model gpt-4o was to be switched off on 2020-01-14: gpt-6-luna replaces it (models.yaml, 2026-11-20)"
    )


def test_a_sample_states_its_error_in_words() -> None:
    sample = Sampled(
        1000, 0.95, (9_900, 10_100), (9_900, 10_100), (1_190_000, 1_210_000), None, (230_000_000, 250_000_000)
    )
    found = changed(sample=sample)

    assert (found["records"], found["tokens"]) == ("about 10,000", "about 1.2M in, at most 1M out")
    assert found["sample"] == (
        "1,000 lines were read, all else is estimated from them; with 95% confidence: records 9,900 to 10,100, "
        "requests 9,900 to 10,100, tokens in 1,190,000 to 1,210,000, cost of the input $0.2300 to $0.2500. "
        "Repeated records were not looked for, and rare dead letters may not be among these"
    )


def test_estimated_tokens_are_said_to_be_estimated() -> None:
    assert changed(exact=False)["tokens"] == "about 1.2M in, at most 1M out; estimated, up to 40% off"


@pytest.mark.parametrize(
    ("moment", "line"),
    [
        ((50_000, 0.25, 10.0), "25.0% · 50,000 records · 5k/s · 30s left"),
        ((50_000, None, 10.0), "50,000 records · 5k/s"),
        ((0, 0.0, 0.0), "0.0% · 0 records · 0/min"),
    ],
)
def test_a_moment_of_reading_is_a_line(moment: tuple[int, float | None, float], line: str) -> None:
    assert reading_line(*moment) == line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config with an input that takes a second or two to read."""
    with (tmp_path / "in.jsonl").open("w") as file:
        for number in range(30_000):
            file.write(json.dumps({"text": f"ticket {number} " + "the parcel came late " * 10}) + "\n")
    (tmp_path / "c.yaml").write_text(
        "job: embeddings\ninput: {path: in.jsonl}\noutput: {path: out.jsonl}\nendpoint: openai\n"
        'model: text-embedding-3-small\ntext: "{{ text }}"\n'
    )
    return tmp_path


def test_reading_is_a_line_each_period_where_stderr_is_no_terminal(folder: Path) -> None:
    done = run("plan", "c.yaml", "--stats", "0.1", cwd=folder)
    quiet = run("plan", "c.yaml", cwd=folder)

    assert (done.returncode, quiet.stderr) == (0, "")
    assert all(" planning: " in line and " left" in line for line in done.stderr.splitlines())
    assert done.stderr.count("\n") >= 2
    assert done.stdout == quiet.stdout


def test_reading_is_a_bar_on_a_terminal_which_is_gone_when_the_plan_is_printed(folder: Path) -> None:
    leader, follower = pty.openpty()
    env = environment(folder, TERM="xterm-256color", COLUMNS="100")
    process = subprocess.Popen(
        [*COMMAND, "plan", "c.yaml"],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65_536):
            shown += chunk
    except OSError:
        pass  # what a terminal says when its last user has gone
    finally:
        os.close(leader)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert out.startswith(b"c: text-embedding-3-small; nothing was sent")
    assert b" records \xc2\xb7 " in shown
    assert b"% \xc2\xb7 " in shown
    assert shown.rstrip().endswith(b"\x1b[2K") or b"\x1b[?25h" in shown


def test_a_sample_is_read_in_a_moment_and_has_all_in_json(folder: Path) -> None:
    whole = json.loads(run("plan", "c.yaml", "--json", cwd=folder).stdout)
    sampled = json.loads(run("plan", "c.yaml", "--sample", "1000", "--json", cwd=folder).stdout)

    assert whole.keys() == sampled.keys()
    assert sampled["sample"]["records"][0] <= whole["records"] <= sampled["sample"]["records"][1]
    assert sampled["cost_least_nusd"] <= whole["cost_nusd"] <= sampled["cost_bound_nusd"]


def test_a_sample_that_is_too_small_is_refused(folder: Path) -> None:
    done = run("plan", "c.yaml", "--sample", "99", cwd=folder)

    assert done.returncode == 2
    assert "99 is not in the range x>=100" in done.stderr
