"""How a run stands, as a title, a sentence and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pipeline.observers.look import Seen
from pipeline.observers.progress import duration
from pipeline.types import Json

Tone = Literal["good", "busy", "warn", "bad"]

_STOPPED: Mapping[int, tuple[Tone, str]] = {
    1: ("bad", "Stopped by a bug"),
    2: ("bad", "Refused"),
    4: ("warn", "Stopped by its budget or deadline"),
    5: ("bad", "Refused: state and files disagree"),
    6: ("bad", "Stopped: a person is needed"),
    7: ("bad", "Stopped: the endpoint was unavailable"),
    74: ("bad", "Stopped: storage failed"),
    75: ("warn", "Refused: another run was under way"),
}


class Standing(NamedTuple):
    """How a run stands."""

    tone: Tone
    title: str
    sentence: str


class Command(NamedTuple):
    """Something to type."""

    line: str
    why: str


def standing(seen: Seen) -> Standing:
    """Return how a run stands, in a sentence."""
    summary = seen.summary
    records = summary["records"]
    settled = f"{records['ok']:,}{_of(records)} records have a result"
    if seen.died:
        return Standing("bad", "Killed", f"The process is gone without a last word; {settled}.")
    if summary["state"] == "running":
        return Standing("busy", "Running", _progress(records, summary.get("now")))
    if summary["state"] == "complete":
        if not records["failed"]:
            return Standing("good", "Complete", f"All {records['ok']:,} records have a result.")
        return Standing("warn", "Finished with failures", f"{settled}, {records['failed']:,} failed for good.")
    if summary["state"] == "interrupted":
        return Standing("warn", "Interrupted", f"It was asked to stop; {settled}. What was in flight is committed.")
    tone, title = _STOPPED.get(summary["exit_code"], ("bad", "Stopped"))
    return Standing(tone, title, f"{_sentence(summary['message'] or 'Nobody knows why')} So far {settled}.")


def next_commands(seen: Seen, commands: Mapping[str, str]) -> list[Command]:
    """Return what to type next, the likeliest first.

    Args:
        seen: How the run stands.
        commands: What to type to `run`, `retry`, `check`, and for its `status`; those that are not given are left out.
    """
    summary = seen.summary
    failed = summary["records"]["failed"]
    wanted: list[tuple[str, str]] = []
    if seen.holder is not None and summary["state"] == "running":
        wanted = [("status", "how it goes, again each second")]
    elif summary["state"] != "complete":
        larger = ", with a larger --budget or --deadline" if summary["exit_code"] == 4 else ""
        wanted = [("run", f"goes on where it stopped{larger}; nothing is bought twice")]
    else:
        if failed:
            wanted = [("retry", f"sends the {failed:,} failed records again, and nothing else")]
        wanted += [
            ("check", "every line of the input is answered exactly once"),
            ("run", "sends what the input has gained"),
        ]
    return [Command(commands[name], why) for name, why in wanted if name in commands]


def _of(records: Json) -> str:
    """Return of how many; nothing where the input has not been read to its end."""
    return "" if records["total"] is None else f" of {records['total']:,}"


def _progress(records: Json, now: Json) -> str:
    parts = [f"{records['ok'] + records['failed']:,}{_of(records)} records are settled"]
    if records["total"] is None and now and now["fraction"]:
        parts.append(f"{now['fraction']:.0%} of the input")
    if now and now["seconds_left"] is not None:
        parts.append(f"about {duration(now['seconds_left'])} left")
    return f"{', '.join(parts)}."


def _sentence(message: str) -> str:
    text = message[:1].upper() + message[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
