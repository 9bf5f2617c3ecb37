"""Log file, joblog, metrics and traces of real runs, and what becomes of a run when their places fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.command import Ended, pipeline, start, write_config, write_records
from tests.judge import Judge
from tests.storage.outputs import sealed

Judges = Callable[..., Judge]
RECORDS = 400
PROMTOOL = shutil.which("promtool", path=f"{os.environ.get('PATH', '')}:{os.environ.get('PIPELINE_TEST_TOOLS', '')}")
FIELDS = {
    "started": {"job", "endpoint", "model", "output"},
    "answered": {"seconds", "records"},
    "attempt failed": {"error", "code", "status", "seconds", "records"},
    "notice": {"message"},
}
COMMON = {"time", "level", "event", "name", "pid"}


class Bench:
    """A folder with a config and an input, and a server of its own with some failures."""

    def __init__(self, home: Path, server: Judge) -> None:
        self.home, self.server = home, server
        write_records(home / "in.jsonl", [{"text": f"text {number}"} for number in range(RECORDS)])
        self.config(home, "watched", "out.jsonl")

    @staticmethod
    def config(home: Path, name: str, output: str) -> None:
        write_config(
            home,
            name,
            job="embeddings",
            endpoint="simulator",
            model="simulator-hashing-256",
            input={"path": "in.jsonl"},
            output={"path": output},
            text="{{ text }}",
            limits={"concurrency": 8, "rpm": 60_000},
            retry={"base": 0.01, "cap": 0.05},
        )

    def run(self, *flags: str, seconds: float = 60, **environ: str) -> Ended:
        extra = {**self.server.environment, **environ}
        return pipeline("run", "watched.yaml", *flags, home=self.home, extra=extra, seconds=seconds)


@pytest.fixture
def bench(judge: Judges, tmp_path: Path) -> Bench:
    flags = ("--engine", "hashing", "--script", "ok,server_error,ok,rate_limited,ok,close_before_response")
    return Bench(tmp_path, judge(*flags, "--latency", "0.02"))


def test_a_log_in_json_has_the_documented_fields_and_is_private(bench: Bench) -> None:
    ended = bench.run("--log-file", "logs/run.jsonl", "-vv", "-q")
    entries = [json.loads(line) for line in (bench.home / "logs/run.jsonl").read_text().splitlines()]
    events = Counter(entry["event"] for entry in entries)

    assert (ended.code, ended.err) == (0, ""), "quiet is about stderr"
    for entry in entries:
        assert entry.keys() >= COMMON
        if entry["event"] in FIELDS:
            assert entry.keys() == COMMON | FIELDS[entry["event"]]
    assert (entries[0]["event"], entries[-1]["event"], entries[-1]["exit_code"]) == ("started", "summary", 0)
    assert events["answered"] == RECORDS // 20
    assert events["attempt failed"] == 3
    assert sealed(bench.home / "logs/run.jsonl")


def test_two_runs_share_a_log_that_is_rotated_meanwhile(bench: Bench) -> None:
    Bench.config(bench.home, "other", "other.jsonl")
    flags = ["--log-file", "run.jsonl", "-vv", "-q", "--set", "log.max_bytes=2000", "--set", "log.keep=100"]
    extra = bench.server.environment
    runs = [start(["run", f"{name}.yaml", *flags], bench.home, extra) for name in ("watched", "other")]
    for run in runs:
        run.communicate(timeout=60)
    files = list(bench.home.glob("run.jsonl*"))
    entries = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
    ends = {entry["name"]: entry["exit_code"] for entry in entries if entry["event"] == "summary"}
    answered = Counter(entry["name"] for entry in entries if entry["event"] == "answered")

    assert ends == {"watched": 0, "other": 0}
    assert answered == {"watched": RECORDS // 20, "other": RECORDS // 20}
    assert len(files) > 3


def test_the_joblog_has_a_row_for_every_request_that_the_server_saw(bench: Bench) -> None:
    bench.run("--joblog", "joblog.tsv", "--limit", "200")
    bench.run("--joblog", "joblog.tsv")
    header, *rows = [line.split("\t") for line in (bench.home / "joblog.tsv").read_text().splitlines()]
    sent = {entry.request_id for entry in bench.server.entries()}
    exits = Counter(row[6] for row in rows)

    assert header[0] == "Seq"
    assert len(rows) == len(bench.server.entries()) == len(sent)
    assert len({row[0] for row in rows}) == len(rows), "unique over both runs"
    assert exits == {"0": RECORDS // 20, "500": 1, "429": 1, "1": 1}
    assert all(int(row[5]) > 0 for row in rows if row[6] == "0"), "bytes received"
    assert sealed(bench.home / "joblog.tsv")


def test_the_metrics_are_what_the_run_did_and_outlive_it(bench: Bench) -> None:
    bench.run("--metrics-file", "m.prom")
    text = (bench.home / "m.prom").read_text()
    families = list(text_string_to_metric_families(text))
    seen = {(sample.name, sample.labels.get("outcome")): sample.value for each in families for sample in each.samples}
    bench.run("--metrics-file", "m.prom", "--set", "model=another", "--strict")
    again = (bench.home / "m.prom").read_text()
    success = next(line for line in text.splitlines() if line.startswith("pipeline_last_success_timestamp_seconds{"))

    outcomes = {outcome: value for (name, outcome), value in seen.items() if name == "pipeline_requests_total"}
    assert outcomes["ok"] == RECORDS // 20
    assert sum(outcomes.values()) == RECORDS // 20 + 3, "each failure was one attempt more"
    assert seen["pipeline_requests_total", "transient"] == 1
    assert seen["pipeline_requests_total", "throttled"] == 1
    assert seen["pipeline_records_total", "ok"] == RECORDS
    assert seen["pipeline_last_exit_code", None] == 0
    assert success in again
    assert "pipeline_last_exit_code{" in again
    assert "} 5\n" in again, "the second run was refused"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
def test_promtool_finds_no_fault_with_the_metrics(bench: Bench) -> None:
    bench.run("--metrics-file", "m.prom")
    with (bench.home / "m.prom").open() as text:
        checked = subprocess.run([str(PROMTOOL), "check", "metrics"], stdin=text, capture_output=True, check=False)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    spans: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.spans += [span.name for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[tuple[str, list[str]]]:
    spans: list[str] = []
    handler = type("Keeping", (Collector,), {"spans": spans})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
        server.shutdown()
        thread.join()


def test_a_collector_gets_a_span_for_every_attempt(bench: Bench, collector: tuple[str, list[str]]) -> None:
    url, spans = collector
    ended = bench.run("--json", OTEL_EXPORTER_OTLP_ENDPOINT=url)

    assert Counter(spans) == {
        "embeddings simulator-hashing-256": len(bench.server.entries()),
        "run watched": 1,
    }
    assert ended.summary["notices"] == []


def test_places_that_fail_cost_lines_and_nothing_else(bench: Bench) -> None:
    os.mkfifo(bench.home / "stuck")  # nobody reads it: to open it takes forever
    (bench.home / "m.prom").write_text("mine")
    flags = ("--log-file", "/dev/full", "--joblog", "stuck", "--metrics-file", "m.prom", "-vv", "-q", "--json")
    ended = bench.run(*flags, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", seconds=40)
    notices = ended.summary["notices"]

    assert ended.code == 0
    assert ended.summary["records"]["ok"] == RECORDS
    assert (bench.home / "m.prom").read_text() == "mine"
    assert "lines of the log cannot be written: No space left on device" in notices
    assert any(notice.endswith(" lines of the joblog were lost") for notice in notices)
    assert "versions of the metrics cannot be written: it holds something other than metrics of pipeline" in notices
