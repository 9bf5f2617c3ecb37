"""Input lines: from bytes on disk, in any compression, to request bodies. Judged by Python's own JSON parser."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson
import zstandard

from jobs.chat import Chat
from jobs.completions import Completions
from jobs.embeddings import Embeddings
from jobs.moderations import Moderations
from pipeline.config import compile_template
from pipeline.core.end_users import HidesEndUsers
from pipeline.core.parse import BOM, is_blank, parse_line
from pipeline.core.tokens import TextTokenizer
from pipeline.errors import PipelineError, Rejected, UsageError
from pipeline.job import Job, JobSpec
from pipeline.storage.source import Source
from pipeline.types import BadLine, Item, Json, Record
from tests.acceptance.test_bad_lines import BAD, GOOD
from tests.faults.fuzz.mutate import changed, damaged, expect, no_hang

FILE_LINES = 2_000
SECRET = b"s" * 32


def batch_line(url: str, **body: Json) -> bytes:
    return orjson.dumps({"custom_id": "task-1", "method": "POST", "url": f"/v1{url}", "body": {"model": "m", **body}})


SEEDS: Sequence[bytes] = (
    *(line for line in [*GOOD.values(), *BAD.values()] if len(line) < 5_000),
    batch_line("/embeddings", input="text", user="ann@example.com"),
    batch_line("/embeddings", input=["one", "two"], dimensions=2, encoding_format="float"),
    batch_line("/embeddings", input=[[1, 2], [3]]),
    batch_line("/completions", prompt="text", max_tokens=5, n=2, best_of=3),
    batch_line("/completions", prompt=["one", "two"], stop=["x"]),
    batch_line("/chat/completions", messages=[{"role": "user", "content": "text"}], max_completion_tokens=5, n=2),
    batch_line("/chat/completions", messages=[{"role": "user", "content": [{"type": "text", "text": "text"}]}]),
    batch_line("/chat/completions", messages=[{"role": "user", "content": "x"}], tools=[{"type": "function"}]),
    batch_line("/moderations", input=["one", "two"]),
    b'{"text": "plain", "messages": [{"role": "user", "content": "hello"}], "n": 5, "list": [1, {"a": 2}]}',
    b"",
    b"  \t",
)
_OBJECTS = [line for line in SEEDS if isinstance(parse_line(2, line), Record)]
_SYNTAX = {"invalid_json", "incomplete", "trailing_data", "invalid_utf8", "nul_byte", "wrong_encoding"}


def jobs() -> Sequence[Job]:
    """One of each, and two that take messages from the record or a template that computes."""
    tokenizer = TextTokenizer("cl100k_base")

    def spec(key: str, source: str = "{{ text }}", **more: Json) -> JobSpec:
        templates = {key: compile_template(source, key)} if key else {}
        return JobSpec("m", tokenizer, templates=templates, max_input_tokens=5_000, max_output_tokens=9, **more)

    made = (
        Embeddings(spec("text")),
        Completions(spec("prompt", params={"n": 2})),
        Chat(spec("prompt", "{{ text | upper }} {% for each in list %}{{ each }}{% endfor %}", too_long="truncate")),
        Chat(spec("", messages="messages")),
        Moderations(spec("text")),
    )
    return [HidesEndUsers(job, lambda: SECRET) for job in made]


class LineFuzz:
    """Writes files of damaged lines, reads them as a run does, and judges what becomes of every line.

    Args:
        place: A folder for the file.
        chance: Makes the lines.

    Attributes:
        outcomes: How often lines became what.
    """

    def __init__(self, place: Path, chance: random.Random) -> None:
        self._path = place
        self._chance = chance
        self._jobs = jobs()
        self.lines = 0
        self.outcomes: Counter[str] = Counter()

    def run(self, lines: int) -> None:
        """Try at least so many lines."""
        while self.lines < lines:
            content = b"\n".join(self._line() for _ in range(FILE_LINES))
            with no_hang():
                self._file(content)

    def _line(self) -> bytes:
        chance = self._chance
        seed = SEEDS[chance.randrange(len(SEEDS))]
        kind = chance.getrandbits(3)
        if kind == 0:
            return seed
        if kind < 4:
            value = orjson.loads(_OBJECTS[chance.randrange(len(_OBJECTS))])
            changed(value, chance)
            return json.dumps(value, ensure_ascii=bool(kind & 1)).encode("utf-8", "surrogatepass")
        return damaged(seed, chance)

    def _file(self, content: bytes) -> None:
        expected = content.split(b"\n")
        if not expected[-1]:
            expected.pop()
        suffix, pack = self._chance.choice(_FORMS)
        path = self._path / f"in.jsonl{suffix}"
        packed = pack(content)
        spoilt = suffix and self._chance.random() < 0.3
        path.write_bytes(damaged(packed, self._chance) if spoilt else packed)
        try:
            read = asyncio.run(_read(path))
        except PipelineError as error:
            # A refusal is right for damaged data alone: a changed byte of the header may also make it harmless.
            expect(bool(spoilt), error)
            self.outcomes[f"file: {error.code}"] += 1
            return
        if not spoilt:
            assert read == expected, "a line was lost, doubled or cut"
        for number, raw in enumerate(read, 1):
            self._judge(number, raw)
        self.lines += len(read)

    def _judge(self, number: int, raw: bytes) -> None:
        id_field = "id" if number % 3 == 0 else None
        found = parse_line(number, raw, id_field)
        if found is None:
            assert is_blank(raw.removeprefix(BOM))
            self.outcomes["blank"] += 1
            return
        assert found.line == number
        if isinstance(found, BadLine):
            assert found.raw == (raw.removeprefix(BOM) if number == 1 else raw)[: 64 * 1024]
            assert found.message.isprintable()
            assert found.code not in _SYNTAX or not _is_object(raw), f"{raw!r} is good JSON"
            self.outcomes[found.code] += 1
            return
        _same(found, raw)
        self._render(found, self._jobs[number % len(self._jobs)])

    def _render(self, record: Record, job: Job) -> None:
        assert orjson.loads(orjson.dumps(record.data)) == record.data
        try:
            item = job.render(record)
        except Rejected as error:
            expect(bool(error.code and error.message), "a refusal without a reason")
            self.outcomes[error.code] += 1
            return
        _check_item(item, record, job)
        self.outcomes["sent"] += 1


def _check_item(item: Item, record: Record, job: Job) -> None:
    assert item.record is record, "an item belongs to its record"
    assert item.input_tokens >= 0
    assert item.output_tokens is None or item.output_tokens >= 0
    body = job.body([item])
    assert orjson.loads(orjson.dumps(body))["model"]
    assert not {"base_url", "api_base", "api_key", "headers", "proxy", "extra_headers", "extra_body"} & body.keys()
    assert b"example.com" not in str(body.get("user")).encode()
    assert not body.get("stream")


def _same(record: Record, raw: bytes) -> None:
    """What is sent is what stands there, to the last digit."""
    read = json.loads(raw.decode("utf-8-sig" if record.line == 1 else "utf-8"), parse_constant=_refuse)
    assert read == record.data, raw
    assert repr(read) == repr(record.data), raw


def _is_object(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw.decode(), parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(word: str) -> Json:
    raise ValueError(word)


async def _read(path: Path) -> list[bytes]:
    found: list[bytes] = []
    with Source(str(path)) as source:
        async for page in source.pages():
            assert page.first_line == len(found) + 1
            found += page.lines
    return found


def _plain(content: bytes) -> bytes:
    return content


def _members(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half], 1) + gzip.compress(content[half:], 1)


_FORMS: Sequence[tuple[str, Callable[[bytes], bytes]]] = (
    ("", _plain),
    ("", _plain),
    (".gz", _members),
    (".zst", lambda content: zstandard.compress(content, 1)),
)

TEMPLATES = (
    "{{ text }}", "{{ a.b[0] }} {{ c | upper }}", "{% for x in list %}{{ x }}{% endfor %}",
    "{% if n > 3 %}{{ n ** 9 }}{% endif %}",
    "{{ text * 9 }}", "{{ '%s' % text }}", "{% set x = text %}{{ x | tojson }}",
    "{{ text | replace('a', 'b') | length }}",
    "{{ [1, 2, 3] | join(', ') }} {{ n / 0 }}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(text) }}",
    "{# note #}{{ list | sort }}",
    "{{ text.__class__.__mro__ }}", "{{ ''.join(['a'] * 9) }}", "{{ range(9) | list }}", "{% raw %}{{ x }}{% endraw %}",
)  # fmt: skip
DATA: Sequence[Mapping[str, Json]] = (
    {"text": "é😀", "n": 5, "list": [3, 1, 2], "a": {"b": ["x"]}, "c": "y"},
    {"text": None, "n": "5", "list": {"k": []}, "a": [], "c": 2**63},
    {},
)


def fuzz_templates(count: int, chance: random.Random) -> Counter[str]:
    """Compile and render damaged templates; a fault is UsageError before a run, or Rejected for one record."""
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        source = damaged(chance.choice(TEMPLATES).encode(), chance).decode(errors="replace")
        with no_hang():
            outcomes[_template(source, chance.choice(DATA))] += 1
    return outcomes


def _template(source: str, data: Mapping[str, Json]) -> str:
    try:
        template = compile_template(source, "text")
    except UsageError:
        return "refused"
    try:
        return "rendered" if isinstance(template(data), str) else "broken"
    except Rejected as error:
        return error.code
