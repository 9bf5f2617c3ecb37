from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.storage.lines import CHUNK_LINES
from pipeline.storage.records import Records


@given(st.lists(st.text(max_size=20), min_size=1), st.booleans(), st.randoms())
def test_any_record_is_found_by_its_line(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], newline: bool, random: object
) -> None:
    path = tmp_path_factory.mktemp("records") / "in.jsonl"
    lines = b"\n\n".join(orjson.dumps({"text": text}) for text in texts)
    path.write_bytes(b"\xef\xbb\xbf" + lines + b"\n" * newline)
    records = Records(str(path), None)
    numbers = list(range(len(texts)))
    random.shuffle(numbers)  # type: ignore[attr-defined]

    for number in numbers:
        assert records.find(2 * number + 1, str(2 * number + 1)) == {"text": texts[number]}


def test_chunks_are_found_in_any_order_and_few_are_remembered(tmp_path: Path) -> None:
    count = 7 * CHUNK_LINES + 5
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(b'{"id":"r%d"}\n' % number for number in range(1, count + 1)))
    records = Records(str(path), "id")

    for line in (count, 1, CHUNK_LINES, CHUNK_LINES + 1, 5 * CHUNK_LINES, 2, 6 * CHUNK_LINES + 1, count - 1):
        assert records.find(line, f"r{line}") == {"id": f"r{line}"}
    assert len(records._ends) <= 4


def test_an_input_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"}\n')
    records = Records(str(path), "id")
    assert records.find(2, "b") == {"id": "b"}

    for content in ('{"id": "a"}\n{"id": "c"}\n', '{"id": "a"}\n', ""):
        path.write_text(content)
        with pytest.raises(UsageError, match=r"in\.jsonl:2 is not 'b' any more: the input was changed"):
            records.find(2, "b")
    path.unlink()
    with pytest.raises(UsageError, match="No such file"):
        records.find(2, "b")


@pytest.mark.parametrize("name", ["in.jsonl.gz", "in.jsonl.zst", "-", "in-*.jsonl"])
def test_an_input_that_is_no_plain_file_says_what_to_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.with_name(name.replace("*", "1")).write_bytes(gzip.compress(b'{"id": "a"}\n'))

    with pytest.raises(UsageError, match=r"output\.keep"):
        Records(name if name == "-" else str(path), "id").find(1, "a")
