"""Section 3F: strange inputs. A slice of the fuzzer, whose full figures are `python -m tests.faults.fuzz --help`."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import socket
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

import jobs.completions as completions_job
from pipeline.config import compile_template
from pipeline.config.document import parse_value, read_document
from pipeline.core.classify import classify
from pipeline.core.dialects import read_error
from pipeline.core.identity import line_identity
from pipeline.core.parse import parse_line
from pipeline.core.usage import read_usage
from pipeline.errors import Malformed, PipelineError, Rejected, UsageError
from pipeline.job import entries
from pipeline.storage import recovery
from pipeline.storage.recovery import usage_of
from pipeline.storage.source import Source
from pipeline.types import BadLine, Json, Record, Request, Response
from tests import rig
from tests.acceptance.command import read_lines, write_config
from tests.faults.case import Case, case
from tests.faults.fuzz import responses
from tests.faults.fuzz.files import FileFuzz
from tests.faults.fuzz.lines import LineFuzz, fuzz_templates
from tests.faults.fuzz.lines import jobs as all_jobs
from tests.faults.fuzz.responses import KEY, ResponseFuzz, check_error, check_headers
from tests.faults.here import run_here
from tests.judge import Judge

Judges = Callable[..., Judge]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SEEN = settings(max_examples=300, deadline=None)


# A slice of the fuzzer, and proof that it would find something


def test_damaged_lines_become_records_or_say_what_is_wrong(tmp_path: Path) -> None:
    fuzz = LineFuzz(tmp_path, random.Random(1))
    fuzz.run(60_000)
    assert fuzz.outcomes["sent"] > 1_000
    assert len(fuzz.outcomes) > 20


def test_damaged_answers_are_never_joined_to_another_record() -> None:
    fuzz = ResponseFuzz(random.Random(2))
    fuzz.run(40_000)
    assert fuzz.outcomes["accepted"] > 5_000
    assert fuzz.outcomes["Malformed wrong_answers"] > 500


def test_damaged_templates_are_refused_or_fail_one_record() -> None:
    outcomes = fuzz_templates(1_000, random.Random(3))
    assert set(outcomes) <= {"refused", "rendered", "template"}


def test_damaged_tails_and_ledgers_are_recovered_or_refused(tmp_path: Path) -> None:
    fuzz = FileFuzz(tmp_path, random.Random(4))
    fuzz.tails(150)
    fuzz.ledgers(150)
    assert fuzz.outcomes["tail: cut"] > 50
    assert fuzz.outcomes["ledger: refused with 5"] > 20


def test_the_fuzzer_finds_answers_that_are_joined_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions_job, "entries_by_index", entries)
    with pytest.raises(AssertionError, match="another record"):
        ResponseFuzz(random.Random(2)).run(40_000)


def test_the_fuzzer_finds_a_tail_that_is_believed_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_may_be_ours", lambda *_: True)
    with pytest.raises((AssertionError, PipelineError, KeyError, ValueError)):
        FileFuzz(tmp_path, random.Random(4)).tails(300)


def test_the_fuzzer_finds_a_key_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "classify", lambda *args, **_: classify(args[0], args[1], args[2]))
    with pytest.raises(AssertionError):
        ResponseFuzz(random.Random(2)).run(5_000)


# What the fuzzer found


@pytest.mark.parametrize("stray", [5, [5], [None], ["x"], {"a": 1}])
def test_a_stray_field_in_an_answer_is_no_bug(tmp_path: Path, stray: Json) -> None:
    def reply(request: Request) -> Response:
        count = len(request.items)
        data = [{"index": index, "embedding": [1.0]} for index in range(count)]
        usage = {"prompt_tokens": count, "total_tokens": count}
        return rig.answer({"model": "m", "data": data, "choices": stray, "usage": usage})

    ended = asyncio.run(rig.run(tmp_path, [{"text": "a"}, {"text": "b"}], reply, job=all_jobs()[0]))
    assert (set(ended.lines), ended.dead) == ({1, 2}, {})


def test_a_template_that_can_never_be_rendered_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(UsageError, match="fails for every record") as refusal:
        compile_template('{{ "x" ~ "y"["joi"] }}', "text")
    assert refusal.value.code == "invalid_config"


@pytest.mark.parametrize("source", ["{{ n * 1e999 }}", "{{ '%99999999999999s' % text }}", "{{ n ** 9999999 }}"])
def test_a_template_that_makes_no_text_fails_one_record(source: str) -> None:
    with pytest.raises(Rejected):
        compile_template(source, "text")({"text": "x", "n": 9})


# By property


@SEEN
@given(st.binary(max_size=200), st.integers(1, 3), st.sampled_from([None, "id"]))
@example(b"\xef\xbb\xbf{}", 1, None)
def test_any_bytes_are_a_record_a_bad_line_or_blank(raw: bytes, line: int, id_field: str | None) -> None:
    found = parse_line(line, raw.replace(b"\n", b""), id_field)
    assert found is None or found.line == line


@SEEN
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_what_python_writes_as_json_is_read_as_it_was_or_refused(data: dict[str, Json]) -> None:
    try:
        raw = orjson.dumps(data)
    except orjson.JSONEncodeError:
        return
    found = parse_line(2, raw)
    assert isinstance(found, Record)
    assert found.data == orjson.loads(raw)


@SEEN
@given(st.dictionaries(st.sampled_from(responses.NAMES), st.text(max_size=40) | st.sampled_from(responses.TIMES)))
def test_any_headers_mean_a_finite_wait_or_none(headers: dict[str, str]) -> None:
    check_headers(headers)


@SEEN
@given(st.sampled_from(responses.STATUSES), JSON | st.binary(max_size=80))
def test_any_body_of_any_status_is_an_error_that_can_be_shown(status: int, body: Json) -> None:
    content = body if isinstance(body, bytes) else orjson.dumps(_writable(body))
    read_error(content)
    check_error(classify(status, {}, content, redact=lambda text: text.replace(KEY, "***")))


@SEEN
@given(JSON, st.integers(0, 100), st.integers(0, 100), st.integers(1, 3))
def test_any_usage_is_read_as_numbers_that_fit(block: Json, input_bound: int, output_bound: int, items: int) -> None:
    usage = read_usage(block, input_bound=input_bound, output_bound=output_bound, items=items).usage
    assert all(0 <= number <= 2 * 10**12 for number in usage[:5])


@SEEN
@given(st.integers(0, 4), JSON)
def test_any_json_is_split_into_one_answer_a_record_or_is_malformed(number: int, body: Json) -> None:
    job = all_jobs()[number]
    item = job.render(Record(1, "1", {"text": "x", "list": [], "messages": [{"role": "user", "content": "x"}]}))
    try:
        answers = job.split([item], _writable(body))
    except Malformed:
        return
    assert len(answers) == 1


@SEEN
@given(st.binary(max_size=100))
def test_any_bytes_are_an_output_line_or_none(raw: bytes) -> None:
    line_identity(raw)
    usage_of(raw)


@SEEN
@given(st.text(max_size=60))
def test_any_text_is_a_template_or_is_refused(source: str) -> None:
    try:
        rendered = compile_template(source, "text")({"text": "x"})
    except (UsageError, Rejected):
        return
    assert isinstance(rendered, str)


def _writable(value: Json) -> Json:
    """A JSON value with no number that orjson would refuse."""
    if isinstance(value, dict):
        return {key.encode(errors="replace").decode(): _writable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_writable(each) for each in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return 0
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


# Files that are no plain list of lines, by number of section 3F


def lines_of(path: Path | str) -> list[bytes]:
    """Read a whole input."""

    async def read() -> list[bytes]:
        with Source(str(path)) as source:
            return [line async for page in source.pages() for line in page.lines]

    return asyncio.run(read())


GZIPPED = gzip.compress(b'{"text": "a"}\n' * 1_000)
DAMAGED: Mapping[str, bytes] = {
    "truncated.gz": GZIPPED[:-20],
    "checksum.gz": GZIPPED[:-8] + b"\0\0\0\0" + GZIPPED[-4:],
    "garbage.gz": GZIPPED + b"garbage",
    "plain.gz": b'{"text": "a"}\n',
    "packed.jsonl": GZIPPED,
    "plain.zst": b'{"text": "a"}\n',
    "truncated.zst": zstandard.compress(os.urandom(10_000))[:-20],
    "array.jsonl.gz": b"",
}


@pytest.mark.parametrize("name", sorted(DAMAGED.keys() - {"array.jsonl.gz"}))
def test_a_damaged_or_misnamed_compressed_input_is_refused(tmp_path: Path, name: str) -> None:  # 27
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    with pytest.raises(UsageError):
        lines_of(path)


def test_a_compressed_input_of_many_members_is_read_whole(tmp_path: Path) -> None:  # 27
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(GZIPPED * 3)
    assert len(lines_of(path)) == 3_000


def test_a_bomb_without_a_line_is_refused_in_bounded_time(tmp_path: Path) -> None:  # 8, 27
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    found = lines_of(path)
    assert [len(line) for line in found] == [(16 << 20) + 1], "cut to a byte more than the limit"
    assert isinstance(parse_line(1, found[0]), BadLine)


def test_a_sparse_file_of_a_terabyte_is_refused(tmp_path: Path) -> None:  # 32
    path = tmp_path / "in.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="no end"):
        lines_of(path)


def test_what_is_no_file_is_refused_and_nothing_waits_for_it(tmp_path: Path) -> None:  # 28
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        began = time.monotonic()
        for name in ("directory", "dangling", "loop", "socket", "missing", "fifo", "a\0b", "\udcff"):
            with pytest.raises(UsageError):
                lines_of(f"{tmp_path}/{name}")
        for device in ("/dev/zero", "/dev/random"):
            with pytest.raises(UsageError):
                lines_of(device)
    assert time.monotonic() - began < 10, "five seconds for the named pipe that nobody writes to"


def test_a_symbolic_link_to_an_input_is_read(tmp_path: Path) -> None:  # 28
    (tmp_path / "real").write_bytes(b"{}\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert lines_of(tmp_path / "link") == [b"{}"]


@pytest.mark.parametrize(
    "name", ["new\nline.jsonl", "\x1b[2J.jsonl", "\u202egpj.jsonl", os.fsdecode(b"\xff\xfe.jsonl"), "-", "a b;id.jsonl"]
)
def test_any_name_of_a_file_is_read_and_shown_without_harm(tmp_path: Path, name: str) -> None:  # 34
    path = tmp_path / name
    path.write_bytes(b"{}\n")
    assert lines_of(path) == [b"{}"]
    path.unlink()
    with pytest.raises(UsageError) as refusal:
        lines_of(path)
    assert refusal.value.message.isprintable()


def test_an_input_that_grows_is_read_to_where_it_was(tmp_path: Path) -> None:  # 31
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"1\n2\n")

    async def read() -> list[bytes]:
        with Source(str(path)) as source:
            with path.open("ab") as file:
                file.write(b"3\n")
            return [line async for page in source.pages() for line in page.lines]

    assert asyncio.run(read()) == [b"1", b"2"]


EMPTY: Mapping[str, bytes] = {
    "empty": b"",  # 18
    "blank lines": b"\n\n  \n\t\r\n",  # 19
    "a byte order mark": b"\xef\xbb\xbf",  # 3
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_input_without_records_is_an_empty_output_and_exit_0(judge: Judges, tmp_path: Path, name: str) -> None:
    job = case(judge, tmp_path)
    (job.home / "in.jsonl").write_bytes(EMPTY[name])
    ended = run_here(job)

    assert (ended.code, job.sent) == (0, 0), ended.err
    assert job.places.output.read_bytes() == b""


def test_blank_lines_are_skipped_and_numbering_is_kept(judge: Judges, tmp_path: Path) -> None:  # 4, 20, 21
    job = case(judge, tmp_path)
    (job.home / "in.jsonl").write_bytes(b'\n{"text": "a"}\r\n\r\n  \n{"text": "b"}\n[]\n{"text": "c"}')
    ended = run_here(job)

    assert ended.code == 3
    assert [line["custom_id"] for line in read_lines(job.places.output)] == ["2", "5", "7"]
    assert [letter["line"] for letter in read_lines(job.places.errors)] == [6]


def test_a_json_array_is_recognised(tmp_path: Path) -> None:  # 24
    found = parse_line(1, b'[{"text": "a"},')
    assert isinstance(found, BadLine)
    assert found.code == "json_array"


def test_ids_that_are_alike_stay_apart(judge: Judges, tmp_path: Path) -> None:  # 11
    job = case(judge, tmp_path, input={"path": "in.jsonl", "id": "id"})
    ids: list[Json] = ["1", 1, "é", "e\u0301", "1"]
    (job.home / "in.jsonl").write_bytes(
        b"\n".join(orjson.dumps({"id": each, "text": str(n)}) for n, each in enumerate(ids))
    )
    ended = run_here(job)

    assert ended.code == 0, ended.err
    assert [line["custom_id"] for line in read_lines(job.places.output)] == [str(each) for each in ids]


def test_numbers_are_kept_to_the_last_digit(judge: Judges, tmp_path: Path) -> None:  # 14, 15
    numbers = b"9007199254740993, 18446744073709551615, -9223372036854775808, 0.1, 5e-324, 1.7976931348623157e308"
    job = case(judge, tmp_path, output={"path": str(tmp_path / "home" / "out.jsonl"), "keep": ["text", "n"]})
    (job.home / "in.jsonl").write_bytes(b'{"text": "a", "n": [' + numbers + b"]}\n")
    assert run_here(job).code == 0
    assert read_lines(job.places.output)[0]["n"] == orjson.loads(b"[" + numbers + b"]")


@pytest.mark.parametrize("kind", ["name", "hard link", "symlink", "descriptor"])
def test_an_output_that_is_the_input_is_refused_before_it_is_touched(
    judge: Judges, tmp_path: Path, kind: str
) -> None:  # 30
    job = case(judge, tmp_path)
    source, output = job.home / "in.jsonl", job.places.output
    content = source.read_bytes()
    aim = output
    with source.open("rb") as file:
        if kind == "hard link":
            output.hardlink_to(source)
        elif kind == "symlink":
            output.symlink_to(source)
        else:
            aim = source if kind == "name" else Path(f"/proc/self/fd/{file.fileno()}")
        with pytest.raises(UsageError):
            run_here(_aimed(job, aim))

    assert job.sent == 0
    assert (job.home / "in.jsonl").read_bytes() == content


def _aimed(job: Case, aim: Path) -> Case:
    keys = {**orjson.loads(job.config.read_bytes()), "output": {"path": str(aim)}}
    return Case(job.home, job.judge, write_config(job.home, "job", **keys), job.texts, job.places)


BOMBS: Mapping[str, str] = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [*{a},*{a},*{a},*{a}]\n" for a, b in pairwise("abcdefghijklm")),
    "depth": "a: " + "[" * 10_000,
    "tag": "a: !!python/object/apply:os.system [id]",
    "merge": "a: &a {<<: *a}",
    "two documents": "a: 1\n---\nb: 2\n",
    "tab": "a:\n\tb: 1",
    "duplicate": "a: 1\na: 2",
    "not UTF-8": "a: \udcff",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_config_that_is_a_bomb_or_no_yaml_is_refused_at_once(tmp_path: Path, name: str) -> None:  # 35
    path = tmp_path / "job.yaml"
    path.write_bytes(BOMBS[name].encode(errors="surrogateescape"))
    with pytest.raises(UsageError):
        read_document(path)


@SEEN
@given(st.text(max_size=40))
def test_any_text_is_a_yaml_value_or_is_refused(text: str) -> None:
    try:
        parse_value(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either is right
