"""Whether a run asks before it spends: every way to `budget.confirm_above`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, environment, run
from tests.judge import Judge

CONFIG = """\
job: embeddings
input: {path: in.jsonl}
output: {path: out.jsonl}
endpoint: simulator
model: simulator-hashing-256
text: "{{ text }}"
"""
TEXT = "the parcel came late"
EACH = 4 * 20
"""Nano-USD of a record: four tokens."""


class Bench:
    """A folder with a config, and a server to run it against."""

    def __init__(self, folder: Path, server: Judge) -> None:
        self.folder = folder
        self.server = server
        self.env = environment(folder, **server.environment)
        self.write(100)
        (folder / "c.yaml").write_text(CONFIG)

    def write(self, records: int) -> None:
        (self.folder / "in.jsonl").write_text(f"{json.dumps({'text': TEXT})}\n" * records)

    def run(self, *arguments: str, above: int = 50 * EACH, command: str = "run") -> subprocess.CompletedProcess[str]:
        """Run the config where nobody can be asked, with a limit in nano-USD: by default what half the input costs."""
        return run(
            command,
            "c.yaml",
            "--set",
            f"budget.confirm_above={above / 1e9:.9f}",
            *arguments,
            cwd=self.folder,
            env=self.env,
        )

    def on_terminal(self, answer: bytes, *arguments: str, above: int = 50 * EACH) -> tuple[int, str]:
        """The same on a terminal on which `answer` is typed; the exit code and what was shown."""
        leader, follower = pty.openpty()
        flags = ("--set", f"budget.confirm_above={above / 1e9:.9f}", *arguments)
        env = {**self.env, "TERM": "xterm"}
        process = subprocess.Popen(
            [*COMMAND, "run", "c.yaml", *flags],
            cwd=self.folder,
            env=env,
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        os.write(leader, answer)
        shown = b""
        try:
            while chunk := os.read(leader, 65_536):
                shown += chunk
        except OSError:
            pass  # what a terminal says when its last user has gone
        finally:
            os.close(leader)
        return process.wait(timeout=60), shown.decode()

    @property
    def requests(self) -> int:
        return len(self.server.entries())


@pytest.fixture
def bench(tmp_path: Path, judge: Callable[..., Judge]) -> Bench:
    return Bench(tmp_path, judge("--engine", "hashing"))


def test_where_nobody_can_be_asked_a_run_that_may_cost_more_is_refused_and_sends_nothing(bench: Bench) -> None:
    refused = bench.run()

    assert (refused.returncode, bench.requests) == (2, 0)
    assert "what is left may cost up to $0.0000080, which is above budget.confirm_above: add --yes" in refused.stderr
    assert not (bench.folder / "out.jsonl.state").exists()


def test_yes_is_an_answer(bench: Bench) -> None:
    assert bench.run("--yes").returncode == 0


def test_a_run_that_may_cost_no_more_is_not_held_up(bench: Bench) -> None:
    assert bench.run(above=100 * EACH).returncode == 0


def test_what_is_paid_for_is_not_counted_again(bench: Bench) -> None:
    assert bench.run("--limit", "50").returncode == 0

    assert bench.run(above=49 * EACH).returncode == 2
    assert bench.run(above=50 * EACH).returncode == 0
    assert bench.server.billed() == 100 * EACH


def test_a_complete_output_asks_nothing(bench: Bench) -> None:
    bench.run("--yes")
    again = bench.run(above=1000)

    assert (again.returncode, again.stderr) == (0, "")


def test_to_begin_anew_is_to_pay_for_all_again(bench: Bench) -> None:
    bench.run("--yes")

    assert bench.run("--fresh").returncode == 2


def test_dead_letters_are_not_sent_again_unasked_where_they_may_cost_more(
    bench: Bench, judge: Callable[..., Judge]
) -> None:
    refusing = judge("--fault", "content_filter_400=1")
    buried = run("run", "c.yaml", cwd=bench.folder, env={**bench.env, **refusing.environment})
    unasked = bench.run(command="retry")
    some = bench.run("--where", "line=1-50", command="retry")
    rest = bench.run("--yes", command="retry", above=1_000)

    assert (buried.returncode, unasked.returncode, some.returncode, rest.returncode) == (3, 2, 3, 0)
    assert "what is left may cost up to $0.0000080" in unasked.stderr
    assert bench.server.billed() == 100 * EACH


def test_files_that_came_since_are_not_part_of_what_a_retry_may_cost(bench: Bench, judge: Callable[..., Judge]) -> None:
    refusing = judge("--fault", "content_filter_400=1")
    several = ("-i", "in*.jsonl")
    buried = run("run", "c.yaml", *several, cwd=bench.folder, env={**bench.env, **refusing.environment})
    (bench.folder / "in-more.jsonl").write_text(f"{json.dumps({'text': TEXT})}\n" * 100)
    retried = bench.run(*several, command="retry", above=100 * EACH)

    assert (buried.returncode, retried.returncode) == (3, 0), retried.stderr
    assert bench.server.billed() == 100 * EACH


def test_an_edited_input_may_have_to_be_paid_for_again(bench: Bench) -> None:
    bench.run("--yes")
    (bench.folder / "in.jsonl").write_text(f"{json.dumps({'text': 'another text, and a longer one by far'})}\n" * 100)

    assert bench.run("--accept-changes").returncode == 2
    assert bench.run("--accept-changes", "--yes").returncode == 0


def test_a_budget_below_the_limit_needs_no_question(bench: Bench) -> None:
    done = bench.run("--budget", f"{40 * EACH / 1e9:.9f}")

    assert done.returncode == 4
    assert bench.server.billed() <= 40 * EACH


def test_a_budget_above_the_limit_is_named_where_it_bounds_the_cost(bench: Bench) -> None:
    refused = bench.run("--budget", f"{60 * EACH / 1e9:.9f}")

    assert refused.returncode == 2
    assert "up to $0.0000080, of which the budget allows $0.0000048" in refused.stderr


def test_an_input_that_can_be_read_once_only_costs_an_unknown_sum(bench: Bench) -> None:
    fifo = bench.folder / "pipe"
    os.mkfifo(fifo)
    piped = [bench.run("-i", name) for name in ("-", str(fifo))]

    assert [done.returncode for done in piped] == [2, 2]
    assert all("may cost an unknown sum" in done.stderr for done in piped)


def test_a_dry_run_asks_nothing(bench: Bench) -> None:
    done = bench.run("-n")

    assert (done.returncode, bench.requests) == (0, 0)
    assert "cost      $0.0000080" in done.stdout


def test_a_price_that_nobody_knows_is_an_unknown_sum(bench: Bench) -> None:
    assert "may cost an unknown sum" in bench.run("--set", "model=nobody-knows").stderr


def test_on_a_terminal_a_run_asks_and_no_ends_it(bench: Bench) -> None:
    code, shown = bench.on_terminal(b"n\n")

    assert (code, bench.requests) == (130, 0)
    assert "What is left may cost up to $0.0000080. Run it? [y/N]" in shown


def test_on_a_terminal_yes_runs_it(bench: Bench) -> None:
    code, shown = bench.on_terminal(b"y\n")

    assert (code, bench.server.billed()) == (0, 100 * EACH)
    assert "complete: 100 of 100 records" in shown


def test_a_huge_input_is_sampled_and_that_is_said(bench: Bench) -> None:
    line = json.dumps({"text": TEXT, "payload": "x" * 5000})
    (bench.folder / "in.jsonl").write_text(f"{line}\n" * 14_000)
    refused = bench.run()

    assert refused.returncode == 2
    assert "the cost is estimated from " in refused.stderr
    assert " of about 14,0" in refused.stderr or " of about 13,9" in refused.stderr


def test_a_huge_compressed_input_is_not_read_twice(bench: Bench) -> None:
    (bench.folder / "in.jsonl.gz").write_bytes(b"\x1f\x8b" + bytes(65 * 1024 * 1024))
    refused = bench.run("-i", "in.jsonl.gz")

    assert refused.returncode == 2
    assert "may cost an unknown sum" in refused.stderr
