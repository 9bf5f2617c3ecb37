"""A file with a bad line of every kind: every good line is answered, every bad one is a dead letter with its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.acceptance.command import pipeline, read_lines, write_config
from tests.judge import Judge

GOOD = {
    "crlf": b'{"id": "a", "text": "line with a carriage return"}\r',
    "floats": b'{"id": "b", "text": "x", "n": 0.1234567890123456789}',
    "emoji": '{"id": "c", "text": "😀 \\ud83d\\ude00 مرحبا"}'.encode(),
    "line separators": '{"id": "d", "text": "one\u2028two\u2029three\u0085four"}'.encode(),
    "duplicate keys": b'{"id": "e", "text": "first", "text": "last"}',
    "largest integer": b'{"id": "f", "text": "x", "n": 18446744073709551615}',
    "escaped NUL": b'{"id": "g", "text": "a\\u0000b"}',
    "integer id": b'{"id": 17, "text": "x"}',
}
BAD = {
    "invalid UTF-8": b'{"id": "h", "text": "\xff"}',
    "overlong UTF-8": b'{"id": "h", "text": "\xc0\x80"}',
    "byte order mark within": b'\xef\xbb\xbf{"id": "h", "text": "x"}',
    "raw NUL": b'{"id": "h", "text": "\x00"}',
    "UTF-16": '{"id": "h", "text": "x"}'.encode("utf-16"),
    "17 MiB": b'{"id": "h", "text": "' + b"x" * (17 << 20) + b'"}',
    "nested 1,000 deep": b'{"id": "h", "text": ' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    "no id": b'{"text": "x"}',
    "empty id": b'{"id": "", "text": "x"}',
    "id that is a list": b'{"id": [1], "text": "x"}',
    "id of 1 MB": b'{"id": "' + b"x" * 1_000_000 + b'", "text": "x"}',
    "NaN": b'{"id": "h", "text": "x", "n": NaN}',
    "Infinity": b'{"id": "h", "text": "x", "n": -Infinity}',
    "1e999": b'{"id": "h", "text": "x", "n": 1e999}',
    "integer beyond 64 bits": b'{"id": "h", "text": "x", "n": 18446744073709551616}',
    "lone surrogate": b'{"id": "h", "text": "\\ud800"}',
    "control character": b'{"id": "h", "text": "a\x01b"}',
    "trailing garbage": b'{"id": "h", "text": "x"}{"id": "i"}',
    "bare carriage return between": b'{"id": "h", "text": "x"}\r{"id": "i", "text": "y"}',
    "list": b'["x"]',
    "string": b'"x"',
    "number": b"17",
    "null": b"null",
    "cut in the middle": b'{"id": "h", "text": "x',
    "empty text": b'{"id": "h", "text": ""}',
    "missing field": b'{"id": "h", "body": "x"}',
}


def test_good_lines_are_answered_and_bad_ones_are_dead_letters(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing")
    pairs = [(name, line, True) for name, line in GOOD.items()] + [(name, line, False) for name, line in BAD.items()]
    pairs.sort(key=lambda pair: hash(pair[1]) % 97)
    blanks = [b"", b"   ", b"\t\r"]
    content = [
        b'\xef\xbb\xbf{"id": "first", "text": "after a byte order mark"}',
        *blanks,
        *[line for _, line, _ in pairs],
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([*content, b'{"id": "last", "text": "no newline at the end"}']))
    config = write_config(
        tmp_path,
        "bad",
        job="embeddings",
        endpoint="simulator",
        model="simulator-hashing-256",
        input={"path": "in.jsonl", "id": "id"},
        output={"path": "out.jsonl"},
        text="{{ text }}",
    )
    strict = pipeline("run", str(config), "--strict", home=tmp_path, extra=server.environment)
    sent_by_strict = len(server.entries())
    ended = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)
    answered = {line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")}
    dead = {letter["line"]: letter for letter in read_lines(tmp_path / "out.jsonl.errors.jsonl")}
    expected = {number for number, (_, _, good) in enumerate(pairs, 5) if not good}
    for number in sorted(dead):
        print(f"line {number}: {pairs[number - 5][0]}: {dead[number]['code']}: {dead[number]['message']}")

    assert (strict.code, sent_by_strict) == (2, 0)
    assert ended.code == 3
    assert answered == {"a", "b", "c", "d", "e", "f", "g", "17", "first", "last"}
    assert set(dead) == expected
    assert all(letter["code"] and letter["message"] for letter in dead.values())
    assert ended.summary["records"] == {"total": 10 + len(BAD), "ok": 10, "failed": len(BAD), "remaining": 0}
