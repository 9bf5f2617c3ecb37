"""Why records failed: by code, with a few examples of each, in a bounded space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.types import Json

MOST_KINDS = 20
MOST_EXAMPLES = 5
OTHERS = "other codes"
"""Where the codes beyond `MOST_KINDS` are counted: they come from servers, which may make up any number."""
_LONGEST_NAME = 64
_LONGEST_MESSAGE = 200


@dataclass(slots=True)
class Kind:
    """The failures of one code."""

    code: str
    count: int = 0
    message: str = ""
    """What was said of the first of them, where that is known."""
    examples: list[tuple[int, str]] = field(default_factory=list)
    """Input line and custom_id of the first."""


class Failures:
    """Counts failed records by code."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}

    def note(self, code: str, line: int, custom_id: str, message: str = "") -> None:
        """Count a record that failed."""
        kind = self._kinds.get(code[:_LONGEST_NAME]) or self._new_kind(code[:_LONGEST_NAME])
        kind.count += 1
        kind.message = kind.message or message[:_LONGEST_MESSAGE]
        if len(kind.examples) < MOST_EXAMPLES:
            kind.examples.append((line, custom_id[:_LONGEST_NAME]))

    @property
    def kinds(self) -> list[Kind]:
        """The most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: (-kind.count, kind.code))

    def as_list(self) -> list[Json]:
        """Return what `of` reads."""
        return [[kind.code, kind.count, kind.message, kind.examples] for kind in self.kinds]

    @classmethod
    def of(cls, data: Sequence[Sequence[Json]]) -> Failures:
        """Return what `as_list` described.

        Raises:
            TypeError, ValueError: Something else is described.
        """
        read = cls()
        for code, count, message, examples in data:
            kind = Kind(str(code), int(count), str(message), [(int(line), str(name)) for line, name in examples])
            read._kinds[kind.code] = kind
        return read

    def _new_kind(self, code: str) -> Kind:
        name = code if len(self._kinds) < MOST_KINDS else OTHERS
        return self._kinds.setdefault(name, Kind(name))


def most_common(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of the most frequent codes, and of all others together."""
    short: Counter[str] = Counter()
    for code, count in counts.items():
        short[code[:_LONGEST_NAME]] += count
    first = Counter(dict(short.most_common(MOST_KINDS)))
    rest = short.total() - first.total()
    return dict(first + Counter({OTHERS: rest}))
