"""Damage to bytes and to JSON, by chance from a seed; and the bound in time of every step."""

from __future__ import annotations

import contextlib
import json
import random
import signal
from collections.abc import Iterator, Sequence
from types import FrameType

from pipeline.types import Json

HANG = 5.0
"""Seconds of computing after which a step hangs."""

TOKENS: Sequence[bytes] = (
    b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0",
    b"0.1", b"{}", b"[]",
    b"18446744073709551615", b"18446744073709551616", b"9007199254740993", b"-9223372036854775809", b"9" * 400,
    b"0.1234567890123456789", b"5e-324", b"1E400", b"01", b"1.", b"\\u0000", b"\\ud800", b"\\udfff", b"\\ud83d\\ude00",
    b"\\u202e", b"\x00", b"\x1b[2J", b"\r", b"\r\n", b"\t", b"\x0b", b"\xc2\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf",
    b"\xff", b"\xc0\x80",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98\x80", b"[" * 150, b"]" * 150, b'{"a":' * 210, b"}" * 210,
    b"\n", b"\n\n",
    b'"custom_id"', b'"body"', b'"url"', b'"method"', b'"model"', b'"input"', b'"text"', b'"id"', b'"messages"',
    b'"prompt"',
    b'"n"', b'"max_tokens"', b'"stream":true', b'"headers":{}', b'"user":"x"', b'"attempt":"', b'"index"', b"{{",
    b"}}", b"{%",
)  # fmt: skip
"""What parsers stumble over, and the words that this program looks for."""

STRANGE: Sequence[Json] = (
    None, True, False, 0, -1, 1, 2, 3, 0.5, -0.0, 1e308, 5e-324, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), "", " ",
    "0", "1", "x" * 300,
    "\x00", "\u202e", "NaN", [], {}, [[]], [None], [1, "a"], {"a": None}, {"index": 0}, [{}], "\x1b[31m", "AAAA",
    "AACAPw==",
)  # fmt: skip


def damaged(content: bytes, chance: random.Random, most: int = 3) -> bytes:
    """Return `content` after one to `most` small changes."""
    data = bytearray(content)
    for _ in range(1 + chance.getrandbits(8) % most):
        _change(data, chance)
    return bytes(data)


def _change(data: bytearray, chance: random.Random) -> None:
    size = len(data)
    at = chance.randrange(size + 1)
    kind = chance.getrandbits(3)
    if kind == 0 and size:
        data[at % size] ^= 1 << chance.getrandbits(3) % 8
    elif kind == 1 and size:
        data[at % size] = chance.getrandbits(8)
    elif kind == 2:
        del data[at : at + 1 + chance.getrandbits(4)]
    elif kind == 3:
        data[at:at] = data[at : at + chance.getrandbits(5)]
    elif kind == 4:
        del data[at:]
    else:
        token = TOKENS[chance.randrange(len(TOKENS))]
        data[at : at + (len(token) if kind == 7 else 0)] = token


def changed(value: Json, chance: random.Random) -> None:
    """Change one place somewhere in a JSON value, in place."""
    node = value
    while True:
        inner = [
            each
            for each in (node.values() if isinstance(node, dict) else node)
            if isinstance(each, dict | list) and each
        ]
        if not inner or chance.random() < 0.3:
            break
        node = chance.choice(inner)
    if isinstance(node, dict):
        _change_object(node, chance)
    else:
        _change_list(node, chance)


def _change_object(node: dict[str, Json], chance: random.Random) -> None:
    if not node:
        node["index"] = chance.choice(STRANGE)
        return
    key, other = chance.choice(list(node)), chance.choice(list(node))
    match chance.randrange(4):
        case 0:
            del node[key]
        case 1:
            node[key], node[other] = node[other], node[key]
        case 2:
            node[chance.choice(("index", "error", "usage", "choices", "data", "text", "model"))] = chance.choice(
                STRANGE
            )
        case _:
            node[key] = json.loads(json.dumps(chance.choice(STRANGE)))


def _change_list(node: list[Json], chance: random.Random) -> None:
    at = chance.randrange(len(node)) if node else 0
    match chance.randrange(5) if node else 4:
        case 0:
            del node[at]
        case 1:
            node.insert(at, json.loads(json.dumps(node[at])))
        case 2:
            chance.shuffle(node)
        case 3:
            node[at] = json.loads(json.dumps(chance.choice(STRANGE)))
        case _:
            node.append(json.loads(json.dumps(chance.choice(STRANGE))))


def expect(true: bool, what: object) -> None:
    """Assert, where a linter takes an assertion for a slip: on an error that was caught."""
    if not true:
        raise AssertionError(what)


@contextlib.contextmanager
def no_hang(seconds: float = HANG) -> Iterator[None]:
    """Raise where the body computes for longer; time in which other processes compute does not count."""

    def hangs(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"hangs: more than {seconds:g} s of computing")

    before = signal.signal(signal.SIGVTALRM, hangs)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
