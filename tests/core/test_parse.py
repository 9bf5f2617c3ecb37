"""Every kind of bad line has a code, and no good line is lost or changed."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.parse import BOM, RAW_LIMIT, count_blank, parse_line
from pipeline.types import BadLine, Record

WIDE = "9" * 5000
BAD = {
    "invalid UTF-8": (b'{"a":"\xff"}', "invalid_utf8"),
    "overlong UTF-8": (b'{"a":"\xc0\xaf"}', "invalid_utf8"),
    "surrogate in UTF-8": (b'{"a":"\xed\xa0\x80"}', "invalid_utf8"),
    "byte order mark inside the file": (BOM + b'{"a":1}', "byte_order_mark"),
    "bare carriage return": (b'{"a":1}\r{"a":2}', "trailing_data"),
    "NUL": (b'{"a":"\x00"}', "nul_byte"),
    "only NULs": (b"\x00" * 64, "nul_byte"),
    "UTF-16 with a mark": ('{"a":"text"}'.encode("utf-16"), "wrong_encoding"),
    "UTF-16 without a mark": ('{"a":"text"}'.encode("utf-16-be"), "wrong_encoding"),
    "UTF-32": ('{"a":"text"}'.encode("utf-32-le"), "wrong_encoding"),
    "nested 201 deep": (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "nested_too_deeply"),
    "nested 100,000 deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested_too_deeply"),
    "nested and never closed": (b'{"a":' * 1500, "nested_too_deeply"),
    "NaN": (b'{"a":NaN}', "not_finite"),
    "Infinity": (b'{"a":Infinity}', "not_finite"),
    "minus Infinity": (b'{"a":-Infinity}', "not_finite"),
    "1e999": (b'{"a":1e999}', "not_finite"),
    "2^64": (b'{"a":18446744073709551616}', "integer_too_large"),
    "below -2^63": (b'{"a":[-9223372036854775809]}', "integer_too_large"),
    "300 digits": (b'{"a":' + b"7" * 300 + b"}", "integer_too_large"),
    "5,000 digits": (f'{{"a":{WIDE}}}'.encode(), "integer_too_large"),
    "long digits in a string and after it": (f'{{"a":"{WIDE}\\"","b":{2**64}}}'.encode(), "integer_too_large"),
    "lone high surrogate": (b'{"a":"\\ud800"}', "lone_surrogate"),
    "lone low surrogate": (b'{"a":"\\udc00"}', "lone_surrogate"),
    "trailing object": (b'{"a":1}{"b":2}', "trailing_data"),
    "list": (b"[1,2]", "json_array"),
    "string": (b'"text"', "not_an_object"),
    "number": (b"12", "not_an_object"),
    "null": (b"null", "not_an_object"),
    "raw control character": (b'{"a":"\x1b"}', "control_character"),
    "cut in a string": (b'{"a":"te', "incomplete"),
    "an object over several lines": (b"{", "incomplete"),
    "single quotes": (b"{'a':1}", "invalid_json"),
    "trailing comma": (b'{"a":1,}', "invalid_json"),
    "leading zero": (b'{"a":012}', "invalid_json"),
    "a line separator outside a string": ('{"a":1}\u2028{"a":2}'.encode(), "trailing_data"),
}


@pytest.mark.parametrize(("raw", "code"), BAD.values(), ids=BAD.keys())
def test_a_bad_line_has_its_code_a_message_and_its_bytes(raw: bytes, code: str) -> None:
    bad = parse_line(7, raw)

    assert isinstance(bad, BadLine)
    assert (bad.line, bad.code, bad.raw) == (7, code, raw[:RAW_LIMIT])
    assert bad.message


def test_the_first_line_of_a_json_array_file_is_told_from_json_lines() -> None:
    for raw in (b"[", b'[{"a":1},', b'[{"a":1},{"a":2}]'):
        bad = parse_line(1, raw)
        assert isinstance(bad, BadLine)
        assert bad.code == "json_array"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"id,text", 'not JSON (is this CSV?): a line must be an object, such as {"text": "\u2026"}'),
        (b"hello", 'not JSON: a line must be an object, such as {"text": "\u2026"}'),
        (b"data: {x}, y", 'not JSON: a line must be an object, such as {"text": "\u2026"}'),
    ],
)
def test_a_line_of_something_else_says_what_a_line_must_be(raw: bytes, message: str) -> None:
    bad = parse_line(1, raw)

    assert isinstance(bad, BadLine)
    assert bad.message == message


GOOD = {
    "a byte order mark on line 1": (1, BOM + b'{"a":1}', {"a": 1}),
    "a carriage return at the end": (2, b'{"a":1}\r', {"a": 1}),
    "an escaped NUL": (2, b'{"a":"\\u0000"}', {"a": "\0"}),
    "duplicate keys: the last wins": (2, b'{"model":"cheap","model":"dear"}', {"model": "dear"}),
    "2^53 + 1": (2, b'{"a":9007199254740993}', {"a": 2**53 + 1}),
    "2^64 - 1": (2, b'{"a":18446744073709551615}', {"a": 2**64 - 1}),
    "-2^63": (2, b'{"a":-9223372036854775808}', {"a": -(2**63)}),
    "5,000 digits in a string": (2, f'{{"a":"x\\"{WIDE}"}}'.encode(), {"a": f'x"{WIDE}'}),
    "a float with 25 digits": (2, b'{"a":0.1000000000000000055511151}', {"a": 0.1}),
    "a wide float with a fraction": (2, b'{"a":123456789012345678901.5}', {"a": 123456789012345678901.5}),
    "a wide float": (2, b'{"a":123456789012345678901e2}', {"a": 1.23456789012345678901e22}),
    "a surrogate pair": (2, b'{"a":"\\ud83d\\ude00"}', {"a": "😀"}),
    "U+2028, U+2029, U+0085 in a string": (2, '{"a":"\u2028\u2029\u0085"}'.encode(), {"a": "\u2028\u2029\u0085"}),
    "200 levels": (2, b'{"a":' + b"[" * 199 + b"]" * 199 + b"}", None),
    "brackets in a string": (2, b'{"a":"' + b"[{" * 5000 + b'"}', {"a": "[{" * 5000}),
}


@pytest.mark.parametrize(("line", "raw", "data"), GOOD.values(), ids=GOOD.keys())
def test_a_good_line_keeps_its_value(line: int, raw: bytes, data: object) -> None:
    record = parse_line(line, raw)

    assert isinstance(record, Record)
    assert record.custom_id == str(line)
    assert data is None or record.data == data


@pytest.mark.parametrize("raw", [b"", b" ", b"\r", b" \t\r", b"\x0b\x0c"])
def test_a_blank_line_is_nothing(raw: bytes) -> None:
    assert parse_line(3, raw) is None
    assert parse_line(1, BOM + raw) is None
    assert count_blank([BOM + raw, raw, b"{}"], 1) == 2


def test_a_line_is_refused_one_byte_over_the_limit() -> None:
    raw = b'{"a":1}'

    assert isinstance(parse_line(2, raw, limit=7), Record)
    over = parse_line(2, raw + b" ", limit=7)
    assert isinstance(over, BadLine)
    assert over.code == "line_too_long"


NAMES = [
    (b'{"k":"a"}', "a"),
    (b'{"k":12}', "12"),
    (b'{"k":-1}', "-1"),
    (b'{"k":18446744073709551615}', "18446744073709551615"),
    (orjson.dumps({"k": "é" * 256}), "é" * 256),
    (orjson.dumps({"k": "a\n\x1b\u202e../"}), "a\n\x1b\u202e../"),
]


@pytest.mark.parametrize(("raw", "custom_id"), NAMES)
def test_the_named_field_is_the_custom_id(raw: bytes, custom_id: str) -> None:
    record = parse_line(5, raw, "k")

    assert isinstance(record, Record)
    assert record.custom_id == custom_id


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{}", "id_missing"),
        (b'{"k":null}', "id_not_text"),
        (b'{"k":true}', "id_not_text"),
        (b'{"k":1.0}', "id_not_text"),
        (b'{"k":["a"]}', "id_not_text"),
        (b'{"k":""}', "id_empty"),
        (orjson.dumps({"k": "a" * 513}), "id_too_long"),
        (orjson.dumps({"k": "é" * 257}), "id_too_long"),
    ],
)
def test_a_field_that_names_nothing_makes_a_bad_line(raw: bytes, code: str) -> None:
    bad = parse_line(5, raw, "k")

    assert isinstance(bad, BadLine)
    assert bad.code == code


def test_a_batch_line_brings_its_own_custom_id() -> None:
    line = {"custom_id": "mine", "method": "POST", "url": "/v1/embeddings", "body": {}, "k": "other"}

    assert parse_line(5, orjson.dumps(line)) == Record(5, "mine", line)
    assert parse_line(5, orjson.dumps(line), "k") == Record(5, "other", line)
    bad = parse_line(5, orjson.dumps({**line, "custom_id": ""}))
    assert isinstance(bad, BadLine)
    assert bad.code == "id_empty"


def test_a_field_called_custom_id_alone_makes_no_batch_line() -> None:
    assert parse_line(5, b'{"custom_id":""}') == Record(5, "5", {"custom_id": ""})


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ),
    )
)
def test_an_object_comes_back_as_it_was_or_not_at_all(data: dict[str, object]) -> None:
    text = json.dumps(data, ensure_ascii=False, default=str)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = json.dumps(data).encode()
    parsed = parse_line(4, raw)

    if isinstance(parsed, Record):
        assert parsed.data == json.loads(raw)
        assert orjson.loads(orjson.dumps(parsed.data)) == parsed.data
    else:
        assert isinstance(parsed, BadLine)
        assert parsed.code in {"integer_too_large", "lone_surrogate"}


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_give_a_record_a_bad_line_or_nothing(raw: bytes, first: bool) -> None:
    parsed = parse_line(1 if first else 2, raw)

    assert parsed is None or (parsed.line in {1, 2} and isinstance(parsed, Record | BadLine))


@given(st.text(alphabet='{}[]",:0123456789eE+-.\\u dDnNaifI\r\t\x00', max_size=60))
def test_any_text_near_json_agrees_with_the_standard_parser(text: str) -> None:
    parsed = parse_line(2, text.encode())

    if isinstance(parsed, Record):
        assert json.loads(text) == parsed.data
