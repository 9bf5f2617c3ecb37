"""What stops a job: at once, with the right exit code, and so that the same command goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.command import pipeline, read_lines, start, write_config, write_endpoint, write_records
from tests.judge import Judge

RECORDS = 400


def write_job(tmp_path: Path, server: Judge, **more: object) -> Path:
    write_records(tmp_path / "in.jsonl", [{"text": f"text {number}"} for number in range(RECORDS)])
    write_endpoint(tmp_path, "own", server.url, api_key="env:OWN_KEY", provider="simulator")
    return write_config(
        tmp_path,
        "job",
        job="embeddings",
        endpoint="own",
        model="simulator-hashing-256",
        input={"path": "in.jsonl"},
        output={"path": "out.jsonl"},
        text="{{ text }}",
        **more,
    )


def _has_open(pid: int, inode: int) -> bool:
    opened = list(Path(f"/proc/{pid}/fd").iterdir())
    return any(descriptor.exists() and descriptor.stat().st_ino == inode for descriptor in opened)


def test_a_wrong_key_is_exit_6_after_one_request(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--require-key", "the-right-key", "--latency", "0.05")
    config = write_job(tmp_path, server)
    wrong = pipeline("run", str(config), home=tmp_path, extra={"OWN_KEY": "a-wrong-canary"})
    sent = len(server.entries())
    right = pipeline("run", str(config), home=tmp_path, extra={"OWN_KEY": "the-right-key"})

    assert (wrong.code, sent) == (6, 1)
    assert "canary" not in wrong.err + wrong.out
    assert right.code == 0
    assert len(read_lines(tmp_path / "out.jsonl")) == RECORDS


def test_an_exhausted_quota_is_exit_6_and_nothing_more_is_sent(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--quota-after", "5", "--engine", "hashing")
    config = write_job(tmp_path, server, limits={"concurrency": 2})
    ended = pipeline("run", str(config), "--json", home=tmp_path, extra={"OWN_KEY": "key"})
    refused = [entry for entry in server.entries() if entry.status != 200]

    assert ended.code == 6
    assert ended.summary["records"]["ok"] == 100
    assert ended.summary["records"]["failed"] == 0
    assert len(refused) <= 2, "no more than was in flight"
    assert ended.summary["money"]["spent_nusd"] == server.billed()


def test_an_unknown_model_is_exit_6_after_one_request(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing")
    config = write_job(tmp_path, server)
    ended = pipeline("run", str(config), "--set", "model=missing-1", home=tmp_path, extra={"OWN_KEY": "key"})

    assert (ended.code, len(server.entries())) == (6, 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_and_commits(
    judge: Callable[..., Judge], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    server = judge("--engine", "hashing", "--latency", "0.4")
    config = write_job(tmp_path, server, limits={"concurrency": 4})
    process = start(["run", str(config)], tmp_path, {"OWN_KEY": "key"})
    while len(server.entries()) < 2:
        time.sleep(0.02)  # the server is another process: it can only be watched
    process.send_signal(number)
    process.communicate(timeout=20)
    sent = len(server.entries())
    second = pipeline("run", str(config), "--json", home=tmp_path, extra={"OWN_KEY": "key"})

    assert process.returncode == code
    assert sent <= 8
    assert second.code == 0
    assert len(server.entries()) == RECORDS // 20, "nothing that was in flight was lost or sent again"
    assert second.summary["money"]["unknown_nusd"] == 0
    assert second.summary["money"]["spent_nusd"] == server.billed()


def test_a_second_run_alongside_is_exit_75_within_a_second(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--latency", "1")
    config = write_job(tmp_path, server, limits={"concurrency": 1})
    first = start(["run", str(config)], tmp_path, {"OWN_KEY": "key"})
    while not server.entries():
        time.sleep(0.02)  # the server is another process: it can only be watched
    began = time.monotonic()
    second = pipeline("run", str(config), home=tmp_path, extra={"OWN_KEY": "key"})
    print(f"\nrefused after {time.monotonic() - began:.2f} s: {second.err.strip()}")
    first.kill()
    first.communicate()

    assert second.code == 75
    assert f"pid {first.pid}" in second.err


def test_a_budget_stops_before_it_is_exceeded_and_nearly_all_of_it_is_used(
    judge: Callable[..., Judge], tmp_path: Path
) -> None:
    server = judge("--engine", "hashing")
    config = write_job(tmp_path, server)
    ended = pipeline("run", str(config), "--budget", "0.000012", "--json", home=tmp_path, extra={"OWN_KEY": "key"})
    money = ended.summary["money"]
    recorded = money["spent_nusd"] + money["unknown_nusd"]
    rest = pipeline("run", str(config), "--budget", "1", "--json", home=tmp_path, extra={"OWN_KEY": "key"})
    print(f"\nbilled and recorded {recorded} of {money['cap_nusd']} nano-USD")

    assert ended.code == 4
    assert recorded <= money["cap_nusd"] == 12_000
    assert recorded >= 0.99 * 12_000 - 100, "all but less than one record"
    assert rest.code == 0
    assert rest.summary["money"]["spent_nusd"] == server.billed()


def test_a_misspelt_key_is_exit_2_and_names_the_right_one(judge: Callable[..., Judge], tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "embed.yaml").write_text(
        "job: embeddings\ninput: {path: in.jsonl}\noutput: {path: out.jsonl}\nendpoint: simulator\n"
        'model: m\ntext: "{{ text }}"\nbatch: {max_items: 20}\nlimits:\n  tmp: 5\n'
    )
    ended = pipeline("run", "configs/embed.yaml", home=tmp_path)

    assert ended.code == 2
    assert "configs/embed.yaml:9: limits.tmp: unknown key (did you mean 'tpm'?)" in ended.err


def test_a_run_that_waits_for_the_lock_can_be_interrupted(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--latency", "5")
    config = write_job(tmp_path, server, limits={"concurrency": 1})
    first = start(["run", str(config)], tmp_path, {"OWN_KEY": "key"})
    while not server.entries():
        time.sleep(0.02)  # the server is another process: it can only be watched
    second = start(["run", str(config), "--lock-wait", "60"], tmp_path, {"OWN_KEY": "key"})
    lock = (tmp_path / "out.jsonl.state" / "lock").stat()
    while not _has_open(second.pid, lock.st_ino):
        time.sleep(0.02)  # until it waits for the lock
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=10)
    first.kill()
    first.communicate()

    assert second.returncode == 143
