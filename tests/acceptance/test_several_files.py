"""Several files as one input, and files that came since the last run: nothing is lost, twice, or somebody else's."""

from __future__ import annotations

import gzip
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.simulator import digest
from pipeline.types import Json
from tests.acceptance.command import Ended, pipeline, read_lines, start, write_config
from tests.judge import Judge, judged

KEYS: dict[str, Json] = {
    "job": "embeddings",
    "endpoint": "simulator",
    "model": "simulator-hashing-256",
    "text": "{{ text }}",
    "input": {"path": "in/*.jsonl*"},
    "output": {"path": "out.jsonl", "keep": ["text"]},
}
TAKING: dict[str, Json] = {
    **KEYS,
    "input": {"path": "in/*.jsonl*", "since_last": True},
    "output": {"path": "out/{now:%Y%m%dT%H%M%S}.jsonl", "keep": ["text"]},
}


@pytest.fixture
def server(judge: Callable[..., Judge]) -> Judge:
    return judge("--engine", "hashing")


def put(home: Path, name: str, *texts: str, end: str = "\n") -> None:
    """Append records to a file of the input."""
    path = home / "in" / name
    path.parent.mkdir(exist_ok=True)
    content = "\n".join(f'{{"text": "{text}"}}' for text in texts) + end
    with gzip.open(path, "ab") if name.endswith(".gz") else path.open("ab") as file:
        file.write(content.encode())


def run(home: Path, server: Judge, *flags: str, **keys: Json) -> Ended:
    config = write_config(home, "job", **{**KEYS, **keys})
    return pipeline("run", str(config), "--json", *flags, home=home, extra=server.environment)


def answers(path: Path) -> list[tuple[str, str]]:
    return [(line["custom_id"], line["text"]) for line in read_lines(path)]


def asked(server: Judge) -> Counter[str]:
    """How often the server answered for each text."""
    return Counter(shown for entry in server.served() for shown in entry.inputs)


def test_the_files_of_a_pattern_are_one_input_in_the_order_of_their_names(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "b.jsonl", "b1", "b2", end="")
    put(tmp_path, "a.jsonl", "a1")
    put(tmp_path, "c.jsonl.gz", "c1")
    put(tmp_path, ".draft.jsonl", "draft")
    ended = run(tmp_path, server)

    assert ended.code == 0, ended.err
    assert answers(tmp_path / "out.jsonl") == [
        ("a.jsonl:1", "a1"),
        ("b.jsonl:1", "b1"),
        ("b.jsonl:2", "b2"),
        ("c.jsonl.gz:1", "c1"),
    ]


def test_what_is_new_goes_behind_what_was_read_wherever_its_name_stands(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "b.jsonl", "b1")
    put(tmp_path, "d.jsonl.gz", "d1")
    run(tmp_path, server)
    put(tmp_path, "a.jsonl", "a1")
    put(tmp_path, "b.jsonl", "b2")
    put(tmp_path, "c.jsonl", "c1")
    put(tmp_path, "d.jsonl.gz", "d2")
    ended = run(tmp_path, server)
    again = run(tmp_path, server)
    check = pipeline("check", str(tmp_path / "job.yaml"), home=tmp_path)

    assert [text for _, text in answers(tmp_path / "out.jsonl")] == ["b1", "d1", "a1", "b2", "c1", "d2"]
    assert ("b.jsonl:2", "b2") in answers(tmp_path / "out.jsonl")
    assert ("d.jsonl.gz:2", "d2") in answers(tmp_path / "out.jsonl")
    assert ended.summary["this_run"]["records"]["ok"] == 4
    assert again.summary["this_run"]["requests"]["sent"] == 0
    assert set(asked(server).values()) == {1}
    assert (check.code, check.out) == (0, "6 records, no problem\n")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_text('{"text": "other"}\n'), "was changed since an earlier run"),
        (lambda path: path.write_text(""), "was changed since an earlier run"),
        (lambda path: path.unlink(), "is gone, but an earlier run took its lines"),
    ],
)
def test_a_file_that_was_read_and_changed_is_refused(
    server: Judge, tmp_path: Path, change: Callable[[Path], object], reason: str
) -> None:
    put(tmp_path, "a.jsonl", "a1")
    put(tmp_path, "b.jsonl", "b1")
    run(tmp_path, server)
    change(tmp_path / "in" / "a.jsonl")
    put(tmp_path, "c.jsonl", "c1")
    ended = run(tmp_path, server)

    assert ended.code == 5
    assert f"in/a.jsonl {reason}" in ended.err
    assert sum(asked(server).values()) == 2, "nothing was sent"


def test_a_file_that_was_only_copied_is_the_same(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "a1")
    run(tmp_path, server)
    copy = tmp_path / "in" / "copy"
    copy.write_bytes((tmp_path / "in" / "a.jsonl").read_bytes())
    copy.replace(tmp_path / "in" / "a.jsonl")
    put(tmp_path, "b.jsonl", "b1")

    assert run(tmp_path, server).code == 0
    assert [text for _, text in answers(tmp_path / "out.jsonl")] == ["a1", "b1"]


def test_a_line_that_had_no_end_may_get_a_newline_and_nothing_else(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "a1", end="")
    run(tmp_path, server)
    put(tmp_path, "a.jsonl", "", end="")
    refused = run(tmp_path, server)
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "a1"}\n{"text": "a2"}\n')
    ended = run(tmp_path, server)

    assert refused.code == 5
    assert ended.code == 0, ended.err
    assert answers(tmp_path / "out.jsonl") == [("a.jsonl:1", "a1"), ("a.jsonl:2", "a2")]


def test_dead_letters_name_the_file_and_its_line(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "a1", "a2")
    put(tmp_path, "b.jsonl", "b1")
    (tmp_path / "in" / "b.jsonl").write_text('{"text": "b1"}\n{"nothing": 1}\n{"text"\n')
    strict = run(tmp_path, server, "--strict")
    ended = run(tmp_path, server)
    dead = read_lines(tmp_path / "out.jsonl.errors.jsonl")
    check = pipeline("check", str(tmp_path / "job.yaml"), home=tmp_path)

    assert (strict.code, ended.code) == (2, 3)
    assert "in/b.jsonl:2: " in strict.err
    assert "in/b.jsonl:3: " in strict.err
    assert [(each["file"], each["line"], each["custom_id"]) for each in dead] == [
        ("b.jsonl", 2, "b.jsonl:2"),
        ("b.jsonl", 3, "b.jsonl:3"),
    ]
    assert (check.code, check.out) == (0, "5 records, no problem\n")


def test_a_plan_is_of_what_is_left_of_all_files(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "b.jsonl", "b1", "b2")
    run(tmp_path, server)
    put(tmp_path, "a.jsonl", "a1")
    (tmp_path / "in" / "c.jsonl").write_text('{"nothing": 1}\n')
    plan = pipeline("plan", str(tmp_path / "job.yaml"), home=tmp_path)

    assert plan.code == 0, plan.err
    assert "in/c.jsonl:1" in plan.out
    assert run(tmp_path, server).summary["this_run"]["records"] == {"total": 4, "ok": 1, "failed": 1, "remaining": 0}


def test_a_retry_leaves_what_is_new_to_the_next_run(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "a1", "")
    run(tmp_path, server)
    put(tmp_path, "a.jsonl", "a3")
    put(tmp_path, "b.jsonl", "b1")
    retried = pipeline("retry", str(tmp_path / "job.yaml"), "--json", home=tmp_path, extra=server.environment)
    before = [text for _, text in answers(tmp_path / "out.jsonl")]
    run(tmp_path, server)

    assert retried.summary["records"]["total"] == 2
    assert before == ["a1"]
    assert [text for _, text in answers(tmp_path / "out.jsonl")] == ["a1", "a3", "b1"]


def test_a_lost_list_of_files_is_refused_and_never_guessed(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "b.jsonl", "b1", "b2")
    run(tmp_path, server)
    put(tmp_path, "a.jsonl", "a1")
    listed = tmp_path / "out.jsonl.state" / "files.json"
    content = listed.read_bytes()
    listed.unlink()
    lost = run(tmp_path, server)
    (tmp_path / "out.jsonl.state" / "ledger.db").unlink()
    repaired_without = run(tmp_path, server, "--repair")
    listed.write_bytes(content)
    ended = run(tmp_path, server, "--repair")

    assert (lost.code, repaired_without.code) == (5, 5)
    assert "in what order its files were read" in lost.err
    assert ended.code == 0, ended.err
    assert sorted(answers(tmp_path / "out.jsonl")) == [("a.jsonl:1", "a1"), ("b.jsonl:1", "b1"), ("b.jsonl:2", "b2")]
    assert set(asked(server).values()) == {1}


def test_an_output_among_the_files_of_the_input_is_refused(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "a1")
    ended = run(tmp_path, server, output={"path": "in/out.jsonl"})

    assert ended.code == 2
    assert "in/out.jsonl would be read as a file of the input" in ended.err


def test_a_name_that_is_no_text_is_a_name_all_the_same(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "a1")
    (tmp_path / "in" / "a.jsonl").rename(tmp_path / "in" / os.fsdecode(b"\xff.jsonl"))
    ended = run(tmp_path, server)
    again = run(tmp_path, server)

    assert (ended.code, again.code) == (0, 0)
    assert answers(tmp_path / "out.jsonl") == [("\\xff.jsonl:1", "a1")]


def test_a_name_with_brackets_is_a_file_where_there_is_one(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a[1].jsonl", "a1")
    ended = run(tmp_path, server, input={"path": "in/a[1].jsonl"})

    assert ended.code == 0
    assert answers(tmp_path / "out.jsonl") == [("1", "a1")]


def test_a_pattern_without_a_file_is_refused_unless_that_is_said_to_be_fine(server: Judge, tmp_path: Path) -> None:
    refused = run(tmp_path, server)
    fine = run(tmp_path, server, input={"path": "in/*.jsonl", "missing": "ok"})

    assert refused.code == 2
    assert "cannot read 'in/*.jsonl*': there is no such file" in refused.err
    assert (fine.code, fine.summary["state"]) == (0, "complete")


@pytest.mark.parametrize("flags", [(), ("-q",)])
def test_a_file_that_has_not_come_yet_may_be_nothing_to_do(server: Judge, tmp_path: Path, flags: list[str]) -> None:
    config = write_config(tmp_path, "job", **{**KEYS, "input": {"path": "{date}.jsonl", "missing": "ok"}})
    ended = pipeline("run", str(config), "--date", "2026-11-25", *flags, home=tmp_path, extra=server.environment)
    strict = pipeline("run", str(config), "--set", "input.missing=error", home=tmp_path, extra=server.environment)

    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "" if flags else "nothing to do: cannot read '2026-11-25.jsonl'" in ended.err
    assert strict.code == 2
    assert list(tmp_path.glob("out*")) == []


def test_a_last_line_that_is_being_written_is_left_to_the_next_run(server: Judge, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    growing = {"input": {"path": "in.jsonl", "growing": True}}
    path.write_text('{"text": "one"}\n{"text": "tw')
    first = run(tmp_path, server, **growing)
    path.write_text('{"text": "one"}\n{"text": "two"}')
    second = run(tmp_path, server, **growing)

    assert (first.code, first.summary["records"]["total"]) == (0, 1)
    assert (second.code, second.summary["records"]["total"]) == (0, 2)
    assert [text for _, text in answers(tmp_path / "out.jsonl")] == ["one", "two"]


def test_a_finished_output_stays_until_the_grown_one_replaces_it(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--latency", "0.3")
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n')
    single: dict[str, Json] = {"input": {"path": "in.jsonl"}, "batch": {"max_items": 1}, "limits": {"concurrency": 1}}
    run(tmp_path, server, **single)
    before = (tmp_path / "out.jsonl").read_bytes()
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write('{"text": "two"}\n{"text": "three"}\n')
    process = start(["run", str(tmp_path / "job.yaml")], tmp_path, server.environment)
    while len(server.entries()) < 2 and process.poll() is None:
        time.sleep(0.02)  # the server is another process: it can only be watched
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write('{"text": "after its start"}\n')
    seen = set()
    while process.poll() is None:
        seen.add((tmp_path / "out.jsonl").read_bytes())
        time.sleep(0.005)
    process.communicate()
    after = (tmp_path / "out.jsonl").read_bytes()

    assert process.returncode == 0
    assert seen <= {before, after}, "nobody saw a part of it"
    assert before in seen
    assert [text for _, text in answers(tmp_path / "out.jsonl")] == ["one", "two", "three"], "its size at the start"
    assert run(tmp_path, server, **single).summary["this_run"]["records"]["ok"] == 1


# Files since the last run


def outputs(home: Path) -> dict[str, list[str]]:
    """The texts of each complete output."""
    found = [path for path in sorted((home / "out").glob("*.jsonl")) if ".errors." not in path.name]
    return {path.name: [text for _, text in answers(path)] for path in found}


def take(home: Path, server: Judge, now: str | None, *flags: str) -> Ended:
    config = write_config(home, "job", **TAKING)
    dated = ["--date", now] if now is not None else []
    return pipeline("run", str(config), "--json", *dated, *flags, home=home, extra=server.environment)


def test_every_run_takes_the_files_that_are_new(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "b.jsonl", "b1")
    first = take(tmp_path, server, "2026-11-01T02:00")
    nothing = take(tmp_path, server, "2026-11-02T02:00")
    put(tmp_path, "a.jsonl", "a1")
    put(tmp_path, "b.jsonl", "b2")
    third = take(tmp_path, server, "2026-11-03T02:00")
    (tmp_path / "in" / "b.jsonl").unlink()
    put(tmp_path, "c.jsonl", "c1")
    fourth = take(tmp_path, server, "2026-11-04T02:00")
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    emptied = take(tmp_path, server, "2026-11-05T02:00")

    assert [each.code for each in (first, nothing, third, fourth, emptied)] == [0, 0, 0, 0, 0]
    assert outputs(tmp_path) == {
        "20261101T020000.jsonl": ["b1"],
        "20261103T020000.jsonl": ["a1", "b2"],
        "20261104T020000.jsonl": ["c1"],
    }
    assert set(asked(server).values()) == {1}
    assert answers(tmp_path / "out" / "20261103T020000.jsonl")[1] == ("b.jsonl:2", "b2"), "its number in its file"


def test_a_taken_file_with_other_content_is_refused_until_it_has_another_name(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "a1")
    take(tmp_path, server, "2026-11-01")
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "new"}\n')
    refused = take(tmp_path, server, "2026-11-02")
    (tmp_path / "in" / "a.jsonl").rename(tmp_path / "in" / "a-2.jsonl")
    ended = take(tmp_path, server, "2026-11-03")

    assert refused.code == 5
    assert "give it another name to have it taken as a new file" in refused.err
    assert ended.code == 0
    assert outputs(tmp_path)["20261103T000000.jsonl"] == ["new"]


def test_a_run_that_died_is_finished_by_the_next_one_under_its_own_name(
    judge: Callable[..., Judge], tmp_path: Path
) -> None:
    server = judge("--engine", "hashing", "--latency", "0.2")
    put(tmp_path, "a.jsonl", *(f"a{number}" for number in range(200)))
    config = write_config(tmp_path, "job", **TAKING, limits={"concurrency": 1})
    process = start(["run", str(config), "--date", "2026-11-01"], tmp_path, server.environment)
    while len(server.entries()) < 3 and process.poll() is None:
        time.sleep(0.02)  # the server is another process: it can only be watched
    process.kill()
    process.communicate()
    put(tmp_path, "b.jsonl", "b1")
    other = take(tmp_path, server, "2026-11-02")
    status = pipeline("status", str(config), home=tmp_path)
    ended = take(tmp_path, server, None)

    assert other.code == 5
    assert "run it first, with --date 2026-11-01T00:00:00" in other.err
    assert "out/20261101T000000.jsonl" in status.out
    assert ended.code == 0, ended.err
    assert outputs(tmp_path) == {"20261101T000000.jsonl": [*(f"a{number}" for number in range(200)), "b1"]}


def test_two_runs_never_take_the_same_files(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--latency", "1")
    put(tmp_path, "a.jsonl", "a1")
    config = write_config(tmp_path, "job", **TAKING)
    process = start(["run", str(config), "--date", "2026-11-01"], tmp_path, server.environment)
    while not server.entries() and process.poll() is None:
        time.sleep(0.02)  # the server is another process: it can only be watched
    other = take(tmp_path, server, "2026-11-02", "-q")
    waiting = take(tmp_path, server, "2026-11-03", "--lock-wait", "30")
    process.communicate(timeout=30)

    assert (other.code, other.err) == (75, "")
    assert other.summary["state"] == "stopped"
    assert (process.returncode, waiting.code) == (0, 0)
    assert outputs(tmp_path) == {"20261101T000000.jsonl": ["a1"]}


def test_dead_letters_of_the_last_run_can_be_retried(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "a1")
    (tmp_path / "in" / "b.jsonl").write_text('{"nothing": 1}\n')
    first = take(tmp_path, server, "2026-11-01")
    put(tmp_path, "c.jsonl", "c1")
    put(tmp_path, "a.jsonl", "a2")
    retried = pipeline("retry", str(tmp_path / "job.yaml"), "--json", home=tmp_path, extra=server.environment)
    check = pipeline("check", str(tmp_path / "job.yaml"), home=tmp_path)
    after_retry = outputs(tmp_path)
    second = take(tmp_path, server, "2026-11-02")

    assert (first.code, retried.code, second.code) == (3, 3, 0)
    assert retried.summary["output"] == "out/20261101T000000.jsonl"
    assert after_retry == {"20261101T000000.jsonl": ["a1"]}, "a retry takes nothing new"
    assert check.out == "2 records, no problem\n"
    assert outputs(tmp_path)["20261102T000000.jsonl"] == ["a2", "c1"]


def test_begun_anew_a_run_reads_the_same_files_again(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "a1")
    take(tmp_path, server, "2026-11-01")
    put(tmp_path, "b.jsonl", "b1")
    take(tmp_path, server, "2026-11-02")
    ended = take(tmp_path, server, "2026-11-01", "--fresh", "--yes")

    assert ended.code == 0, ended.err
    assert outputs(tmp_path) == {"20261101T000000.jsonl": ["a1"], "20261102T000000.jsonl": ["b1"]}
    assert asked(server) == {digest("a1"): 2, digest("b1"): 1}


def test_a_run_that_cannot_go_on_because_a_file_is_gone_can_be_begun_anew(server: Judge, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", *(f"a{number}" for number in range(50)))
    put(tmp_path, "b.jsonl", "b1")
    stopped = take(tmp_path, server, "2026-11-01", "--budget", "0.000001")
    (tmp_path / "in" / "a.jsonl").unlink()
    refused = take(tmp_path, server, None)
    ended = take(tmp_path, server, None, "--fresh", "--yes")

    assert (stopped.code, refused.code, ended.code) == (4, 5, 0)
    assert "in/a.jsonl is gone" in refused.err
    assert outputs(tmp_path) == {"20261101T000000.jsonl": ["b1"]}


def test_whatever_dies_when_every_record_is_taken_once(judge: Callable[..., Judge], tmp_path: Path) -> None:
    """Files come and grow between nine runs, most of which are killed at a random moment."""
    server = judge("--engine", "hashing", "--latency", "0.05")
    chance = random.Random(5)
    expected: list[str] = []
    for number in range(9):
        name = f"{chance.choice('abcdef')}{number}.jsonl" if chance.random() < 0.7 or number == 0 else "a-log.jsonl"
        texts = [f"{number}-{line}" for line in range(chance.randint(1, 60))]
        put(tmp_path, name, *texts)
        expected += texts
        config = write_config(tmp_path, "job", **TAKING, batch={"max_items": 3}, limits={"concurrency": 4})
        process = start(["run", str(config)], tmp_path, server.environment)
        if chance.random() < 0.7:
            time.sleep(chance.uniform(0.2, 0.8))  # the moment is what is tried
            process.kill()
        process.communicate(timeout=60)
    last = take(tmp_path, server, None)
    taken = [text for texts in outputs(tmp_path).values() for text in texts]

    assert last.code == 0, last.err
    assert sorted(taken) == sorted(expected)


_EVENTS = st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.sampled_from([".jsonl", ".jsonl.gz"]))


@settings(max_examples=5, deadline=None)
@given(nights=st.lists(st.lists(_EVENTS, max_size=3), min_size=1, max_size=4))
def test_whatever_comes_and_grows_every_line_has_one_answer_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, nights: list[list[tuple[str, int, str]]]
) -> None:
    home = tmp_path_factory.mktemp("nights")
    written: dict[str, list[str]] = {}
    with judged(home, "--engine", "hashing") as server:
        for number, night in enumerate(nights):
            for name, count, ending in night:
                lines = written.setdefault(name + ending, [])
                new = [f"{name}{ending} {number} {len(lines) + each}" for each in range(count)]
                put(home, name + ending, *new)
                lines += new
            ended = run(home, server, input={"path": "in/*.jsonl*", "missing": "ok"})
            assert ended.code == 0, ended.err

            found = answers(home / "out.jsonl") if written else []
            assert dict(found) == {
                f"{name}:{line}": text for name, lines in written.items() for line, text in enumerate(lines, 1)
            }
            assert len(found) == sum(map(len, written.values()))
        assert set(asked(server).values()) <= {1}
