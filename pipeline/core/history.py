"""How the sending went, over time and all together: what a report draws. Its size does not grow with the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.core.failures import most_common
from pipeline.core.histogram import Histogram
from pipeline.core.timeline import Timeline
from pipeline.types import Json

MOST_STARTS = 32


@dataclass(slots=True)
class History:
    """What the runs of an output did while they were sending; the time between them is left out."""

    timeline: Timeline = field(default_factory=Timeline)
    waiting: Histogram = field(default_factory=Histogram)
    """Seconds that attempts waited for quota or a slot."""
    executing: Histogram = field(default_factory=Histogram)
    """Seconds that attempts were with the server."""
    attempts: Mapping[str, int] = field(default_factory=dict)
    """Attempts that failed, by code."""
    starts: tuple[tuple[float, str], ...] = ()
    """When the runs began, the last `MOST_STARTS` of them: seconds on the timeline, and the time of day (ISO 8601)."""
    runs: int = 0

    def add(self, later: History) -> None:
        """Let the runs of `later` follow."""
        began = self.timeline.extend(later.timeline)
        self.waiting.add(later.waiting)
        self.executing.add(later.executing)
        self.attempts = most_common(Counter(self.attempts) + Counter(later.attempts))
        shifted = tuple((began + at, stamp) for at, stamp in later.starts)
        self.starts = (*self.starts, *shifted)[-MOST_STARTS:]
        self.runs += later.runs

    def as_dict(self) -> dict[str, Json]:
        """Return what `of` reads."""
        return {
            "timeline": self.timeline.as_dict(),
            "waiting": self.waiting.as_dict(),
            "executing": self.executing.as_dict(),
            "attempts": dict(self.attempts),
            "starts": [[round(at, 3), stamp] for at, stamp in self.starts],
            "runs": self.runs,
        }

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> History:
        """Return the history that `as_dict` described.

        Raises:
            KeyError, TypeError, ValueError, IndexError: Something else is described.
        """
        return cls(
            timeline=Timeline.of(data["timeline"]),
            waiting=Histogram.of(data["waiting"]),
            executing=Histogram.of(data["executing"]),
            attempts={str(code): int(count) for code, count in data["attempts"].items()},
            starts=tuple((float(at), str(stamp)) for at, stamp in data["starts"]),
            runs=int(data["runs"]),
        )
