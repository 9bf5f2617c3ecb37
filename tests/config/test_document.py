from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.document import MOST_BYTES, NotYamlError, parse_value, read_document
from pipeline.errors import UsageError


def refusal_of(tmp_path: Path, raw: bytes) -> str:
    path = tmp_path / "x.yaml"
    path.write_bytes(raw)
    with pytest.raises(UsageError) as caught:
        read_document(path)
    assert caught.value.exit_code == 2
    return caught.value.message.removeprefix(f"{path}:").strip()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100_000", 100_000),
        ("0o17", 15),
        ("0xff", 255),
        ("007", 7),
        ("-3", -3),
        ("1e3", 1000.0),
        ("0.5", 0.5),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("15m", "15m"),
        ("1:30", "1:30"),
        ("5%", "5%"),
        ("2026-01-01", "2026-01-01"),
        ("'5'", "5"),
        ("{50256: -100}", {"50256": -100}),
        ("[a, [1, 2]]", ["a", [1, 2]]),
        ("<<", "<<"),
        ("=", "="),
        ("{a: &x 1, b: *x, c: &x 2, d: *x}", {"a": 1, "b": 1, "c": 2, "d": 2}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_every_key_and_entry_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\n# comment\nb:\n  - c: 2\n  - d\ne: {f: 3,\n  g.h: 4}\n", encoding="utf-8")
    assert read_document(path).lines == {
        ("a",): 1,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 0, "c"): 4,
        ("b", 1): 5,
        ("e",): 6,
        ("e", "f"): 6,
        ("e", "g.h"): 7,
    }


def test_a_byte_order_mark_and_crlf_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("\ufeffa: 1\r\nb: ä\r\n".encode())
    assert read_document(path).data == {"a": 1, "b": "ä"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "1: the file is empty: it must hold keys and values"),
        (b"# only a comment\n", "1: the file is empty: it must hold keys and values"),
        (b"- a\n- b\n", "1: must be a mapping of keys to values: `key: value`"),
        (b"just text", "1: must be a mapping of keys to values: `key: value`"),
        (b"a: 1\nb:\n\tc: 2\n", "3: a tab cannot indent YAML: use spaces"),
        (b"a: 1\nb: [1, 2\n", "2: the [ that opens here is not closed, or a comma is missing in it"),
        (b"a: 1\nb: 2\na: 3\n", "3: a: is given twice"),
        (b"g:\n  a: 1\n  a: 2\n", "3: g.a: is given twice"),
        (b"a: 1\nb: \xff\n", "2: is not UTF-8: save it as that"),
        ("a: 1\n".encode("utf-16"), "1: is not UTF-8: save it as that"),
        (b"a: 1\nb: \x00\n", "2: holds a character that YAML does not allow"),
        (b"--- {a: 1}\n--- {b: 2}\n", "2: begins a second document: a config is one"),
        (b"? [1]\n: 2\n", "1: a key must be a plain word"),
        (b"a: !!python/object/apply:os.system [id]\n", "1: has a tag (`!…`), which no key takes"),
        (b"a: !secret x\n", "1: has a tag (`!…`), which no key takes"),
        (b"a: " + b"9" * 5000, "1: is not a number of YAML 1.2"),
        (b"#" * MOST_BYTES + b"\na: 1", "is larger than 256 KiB: no config is; is it the input?"),
        (b"a: &a [*a]\n", "1: expands to more than 10,000 values or 64 levels"),
        (b"[" * 100_000, "1: is nested deeper than 64 levels"),
        (b"{" * 100_000, "1: is nested deeper than 64 levels"),
        (b"a:\n" + b"- b\n" * 21_000, "19998: holds more than 10,000 values"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path: Path, raw: bytes, message: str) -> None:
    assert refusal_of(tmp_path, raw) == message


def test_aliases_cannot_expand_without_end(tmp_path: Path) -> None:
    levels = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    message = refusal_of(tmp_path, f"a: &a [{', '.join('l' * 9)}]\n{levels}".encode())
    assert message == "1: expands to more than 10,000 values or 64 levels"


@pytest.mark.parametrize(("name", "message"), [("none.yaml", "no such file or directory"), ("", "is a directory")])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / name
    with pytest.raises(UsageError) as caught:
        read_document(path)
    assert caught.value.message == f"{path}: {message}"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-?[]{},&*!|>'\"%@`#~ \n\t<=.01e_\\x\x85\u2028\ud800", max_size=40))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    with contextlib.suppress(NotYamlError):
        parse_value(text)
