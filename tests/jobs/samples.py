"""What the tests of the jobs share: a tokenizer of words, specs, records and wrong answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.job import JobSpec, Template
from pipeline.types import Json, Record

Entries = list[Json]


class Words:
    """One token a word. Estimates are as large as counts unless told to be smaller."""

    def __init__(self, underestimate: int = 0) -> None:
        self.underestimate = underestimate

    def estimate(self, text: str) -> int:
        return max(0, len(text.split()) - self.underestimate)

    def count(self, text: str) -> int:
        return len(text.split())

    def truncate(self, text: str, limit: int) -> str:
        return " ".join(text.split()[:limit])


def field(name: str) -> Template:
    """A template that shows one field, and rejects a record without it, as the config's templates do."""

    def render(data: Mapping[str, Json]) -> str:
        if name not in data:
            raise Rejected(f"no field {name}", code="missing_field")
        return str(data[name])

    return render


def templates(*names: str) -> dict[str, Template]:
    return {name: field(name) for name in names}


def spec(**changes: Json) -> JobSpec:
    """A spec for model `m` with the template `text`."""
    return JobSpec(**{"model": "m", "tokenizer": Words(), "templates": templates("text"), **changes})


def record(line: int = 1, **data: Json) -> Record:
    return Record(line, str(line), data)


def batch_line(url: str, line: int = 1, method: str = "POST", **body: Json) -> Record:
    data = {"custom_id": f"c{line}", "method": method, "url": url, "body": {"model": "m", **body}}
    return Record(line, f"c{line}", data)


def without_index(entry: Json) -> Json:
    return {key: value for key, value in entry.items() if key != "index"}


def corruptions(count: int) -> st.SearchStrategy[Callable[[Entries], Entries]]:
    """Every way to spoil the indexes 0 to count - 1 of a list of entries."""
    place = st.integers(0, count - 1)
    wrong = st.one_of(
        st.integers().filter(lambda index: not 0 <= index < count),
        st.none(),
        st.booleans(),
        st.floats(),
        st.integers(0, count - 1).map(str),
    )
    return st.one_of(
        place.map(lambda at: lambda entries: entries[:at] + entries[at + 1 :]),
        place.map(lambda at: lambda entries: [*entries, entries[at]]),
        place.map(lambda at: lambda entries: [*entries[:at], without_index(entries[at]), *entries[at + 1 :]]),
        place.map(lambda at: lambda entries: [*entries[:at], None, *entries[at + 1 :]]),
        st.tuples(place, wrong).map(
            lambda pair: (
                lambda entries: [
                    {**entry, "index": pair[1]} if entry["index"] == pair[0] else entry for entry in entries
                ]
            )
        ),
        st.tuples(place, place)
        .filter(lambda pair: pair[0] != pair[1])
        .map(
            lambda pair: (
                lambda entries: [
                    {**entry, "index": pair[1]} if entry["index"] == pair[0] else entry for entry in entries
                ]
            )
        ),
    )
