import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.reconcile import Billed
from pipeline.errors import UsageError
from pipeline.storage.usage_export import Export, read_export

START = 1_795_132_800  # 2026-11-20 00:00 UTC


def bucket(*results: object, start: int = START, days: int = 1) -> dict[str, object]:
    return {"object": "bucket", "start_time": start, "end_time": start + days * 86_400, "results": list(results)}


def page(*buckets: object, more: bool = False) -> dict[str, object]:
    return {"object": "page", "data": list(buckets), "has_more": more, "next_page": "x" if more else None}


USAGE = {
    "object": "organization.usage.completions.result",
    "input_tokens": 1000,
    "output_tokens": 500,
    "input_cached_tokens": 800,
    "num_model_requests": 5,
    "project_id": None,
    "model": "gpt-4o-mini-2024-07-18",
}
EMBEDDINGS = {
    "object": "organization.usage.embeddings.result",
    "input_tokens": 16,
    "num_model_requests": 2,
    "model": "text-embedding-3-small",
}


def cost(value: object, item: str | None, currency: str = "usd") -> dict[str, object]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": currency},
        "line_item": item,
    }


def read(folder: Path, text: str | bytes) -> Export:
    path = folder / "export"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_export(path)


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(UsageError) as refused:
        read(folder, text)
    return refused.value.message.removeprefix(str(folder / "export"))


def test_pages_of_the_usage_api_are_read(tmp_path: Path) -> None:
    export = read(tmp_path, json.dumps(page(bucket(USAGE, EMBEDDINGS), bucket(start=START + 86_400), more=True)))

    assert export == Export(
        [
            Billed("2026-11-20", "gpt-4o-mini-2024-07-18", 5, 1000, 800, 500),
            Billed("2026-11-20", "text-embedding-3-small", 2, 16, None, None),
        ],
        frozenset({"2026-11-20", "2026-11-21"}),
        more_pages=True,
    )


def test_amounts_of_the_costs_api_are_nano_usd_by_the_model_of_the_line_item(tmp_path: Path) -> None:
    results = [
        cost(0.06, "gpt-4o-mini-2024-07-18, cached input"),
        cost("0.000000001", "priority | gpt-6-sol, output, long context"),
        cost(0.13080438340307526, "gpt-audio-mini-2025-12-15 audio, input"),
        cost(-1, "web search tool calls"),
        cost(2, None),
    ]
    lines = read(tmp_path, json.dumps(page(bucket(*results)))).lines

    assert [(line.model, line.cost_nusd) for line in lines] == [
        ("gpt-4o-mini-2024-07-18", 60_000_000),
        ("gpt-6-sol", 1),
        ("gpt-audio-mini-2025-12-15", 130_804_383),
        ("web search tool calls", -1_000_000_000),
        (None, 2_000_000_000),
    ]


@pytest.mark.parametrize("join", ["\n", " ", "list", "buckets"])
def test_pages_may_be_a_list_or_follow_each_other(tmp_path: Path, join: str) -> None:
    pages = [page(bucket(USAGE), more=True), page(bucket(USAGE, start=START + 86_400))]
    buckets = [bucket(USAGE), bucket(USAGE, start=START + 86_400)]
    texts = {"list": json.dumps(pages), "buckets": json.dumps(buckets)}
    export = read(tmp_path, texts.get(join) or join.join(map(json.dumps, pages)))

    assert [line.day for line in export.lines] == ["2026-11-20", "2026-11-21"]
    assert not export.more_pages


@pytest.mark.parametrize(
    ("head", "row", "line"),
    [
        (
            "date,model,requests,input_tokens,output_tokens,cost",
            "2026-11-20,luna,5,1000,500,$0.06",
            Billed("2026-11-20", "luna", 5, 1000, None, 500, 60_000_000),
        ),
        (
            "start_time,Model,num_model_requests,n_context_tokens_total,n_generated_tokens_total,amount_value,currency",
            f"{START},luna,5,1000,500,0.060000001,usd",
            Billed("2026-11-20", "luna", 5, 1000, None, 500, 60_000_001),
        ),
        (
            "cost_usd, n_requests ,start_time",
            "1e-3,,2026-11-21T01:00:00+02:00",
            Billed("2026-11-20", None, None, None, None, None, 1_000_000),
        ),
    ],
)
def test_csv_columns_are_found_by_name(tmp_path: Path, head: str, row: str, line: Billed) -> None:
    assert read(tmp_path, f"\ufeff{head}\r\n{row}\r\n\r\n").lines == [line]


def test_a_csv_row_without_a_number_speaks_of_its_day_only(tmp_path: Path) -> None:
    assert read(tmp_path, "date,model,cost\n2026-11-20,,\n") == Export([], frozenset({"2026-11-20"}), more_pages=False)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", ":1:", "no column is called date or start_time"),
        ("date,model\n", ":1:", "no column to compare"),
        ("date,cost,cost\n", ":1:", "two columns are called cost"),
        ("date,cost\n", ":1:", "speaks of no day"),
        ("date,cost\n2026-11-20,1\n2026-11-31,1\n", ":3:", "'2026-11-31' is no day"),
        ("date,cost\n2026-11-20,1\n2026-11-21\n", ":3:", "the row has 1 cells, the head 2"),
        ("date,cost\n2026-11-20,one\n", ":2:", "'one' is no number"),
        ("date,cost\n2026-11-20,nan\n", ":2:", "no number that can be meant"),
        ("date,cost\n2026-11-20,1e999999999\n", ":2:", "no number that can be meant"),
        ("date,requests\n2026-11-20,-1\n", ":2:", "'-1' is no count"),
        ("date,requests\n2026-11-20,1.5\n", ":2:", "'1.5' is no count"),
        ("date,cost,currency\n2026-11-20,1,EUR\n", ":2:", "only USD can be compared"),
        ('date,cost\n2026-11-20,"1\n', ":2:", "unexpected end of data"),
        (b"date,cost\n\xff\n", ":2:", "is not UTF-8"),
        ('{"data": [{"start_time": 1e99999999999999999999}]}', ":1:", "must be seconds"),
        ('{\n"data": [,]}', ":2:", "is not JSON"),
        ("[" * 5_000, ":1:", "is not JSON"),
        ("[]", ":1:", "speaks of no day"),
        ("[3]", ":1:", "neither a page nor a bucket"),
        ('{"results": []}', ":1:", "data must be a list"),
        ('{"data": [\n3]}', ":1:", "data must hold objects"),
        ('{"data": [\n{"start_time": "today"}]}', ":2:", "start_time and end_time must be seconds"),
        ('{"data": [\n{"start_time": 0, "end_time": 999999999999999}]}', ":2:", "must be seconds"),
        (json.dumps(page(bucket(days=2)), indent=1), ":4:", "not within a day (UTC)"),
        (json.dumps(page(bucket(start=START + 1)), indent=1), ":4:", "not within a day (UTC)"),
        (json.dumps(page(bucket(USAGE, {"model": "}{"}, USAGE), bucket()), indent=1), ":18:", "neither tokens"),
        (json.dumps(page(bucket({"input_tokens": True}))), ":1:", "'True' is no number"),
        (json.dumps(page(bucket(cost(1, "x", "eur")))), ":1:", "only USD can be compared"),
        (json.dumps(page(bucket({"amount": 3}))), ":1:", "nor an amount with a value"),
    ],
)
def test_what_is_no_export_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, place: str, problem: str
) -> None:
    message = refusal(tmp_path, text)

    assert message.startswith(place)
    assert problem in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_export(path)


@given(st.text() | st.text(alphabet='{}[]",:0e-\n').map("[".__add__) | st.text().map("date,cost\n".__add__))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any-export"
    path.write_text(text, "utf-8", errors="replace")
    with contextlib.suppress(UsageError):
        assert read_export(path).days
