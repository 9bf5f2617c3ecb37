"""How a run ended, in words: a block on a terminal, one line elsewhere. Reads the published schema of a summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.observers.outcome import cost, headline, nothing_to_do
from pipeline.observers.progress import duration, rate, short
from pipeline.types import Json

_REFUSED = (2, 5, 75)
"""Exit codes of runs that sent nothing: there is nothing to sum up."""
_SHOWN_CODES = 4


def was_refused(summary: Json) -> bool:
    """Whether nothing was sent, so that the message says it all."""
    return summary["exit_code"] in _REFUSED


def summary_block(summary: Json, commands: Mapping[str, str]) -> str:
    """Return a summary for a terminal.

    Args:
        summary: As in `run.json`.
        commands: What to type to `run` the rest and to `retry` the dead letters.
    """
    rows = [f"  {name:<9} {text}" for name, text in _rows(summary, commands)]
    return "\n".join([f"pipeline: {headline(summary)}", *rows])


def summary_line(summary: Json, commands: Mapping[str, str]) -> str:
    """Return a summary for files, pipes and cron mails; the arguments are those of `summary_block`."""
    rows = [f"{name}: {text}" for name, text in _rows(summary, commands)]
    return "; ".join([f"pipeline: {headline(summary)}", *rows])


def _rows(summary: Json, commands: Mapping[str, str]) -> list[tuple[str, str]]:
    spent = [
        ("records", _records(summary)),
        ("requests", _requests(summary["requests"])),
        ("tokens", _tokens(summary["tokens"])),
        ("cost", cost(summary)),
        ("time", _time(summary["this_run"])),
        ("pace", _pace(summary)),
    ]
    left = [("output", _output(summary)), ("failed", _failed(summary)), ("next", next_command(summary, commands))]
    return [(name, text) for name, text in ([] if nothing_to_do(summary) else spent) + left if text]


def next_command(summary: Json, commands: Mapping[str, str]) -> str:
    """Return what to type next; empty where nothing is left to do."""
    if summary["state"] == "running":
        return ""
    if summary["state"] != "complete":
        return commands["run"] + ("   (with a larger budget or deadline)" if summary["exit_code"] == 4 else "")
    return commands["retry"] if summary["records"]["failed"] else ""


def _records(summary: Json) -> str:
    records, here = summary["records"], summary["this_run"]["records"]
    parts = [f"{records['ok']:,} ok", f"{records['failed']:,} failed"]
    if records["remaining"]:
        parts.append(f"{records['remaining']:,} remaining of {records['total']:,}")
    earlier = records["ok"] + records["failed"] - here["ok"] - here["failed"]
    return ", ".join(parts) + (f" ({earlier:,} settled in earlier runs)" if earlier > 0 else "")


def _requests(requests: Json) -> str:
    parts = [f"{requests['sent']:,} sent"]
    if requests["retried"]:
        parts.append(f"{requests['retried']:,} retried")
    if requests["throttled"]:
        parts.append(f"{requests['throttled']:,} throttled (429)")
    return ", ".join(parts)


def _tokens(tokens: Json) -> str:
    cached = f" ({short(tokens['cached'])} cached)" if tokens["cached"] else ""
    reasoning = f" ({short(tokens['reasoning'])} reasoning)" if tokens["reasoning"] else ""
    output = f", {short(tokens['output'])} out{reasoning}" if tokens["output"] else ""
    return f"{short(tokens['input'])} in{cached}{output}"


def _time(here: Json) -> str:
    settled, seconds = here["records"]["ok"] + here["records"]["failed"], here["seconds"]
    return duration(seconds) + (f", {rate(settled / seconds)}" if settled and seconds else "")


def _pace(summary: Json) -> str:
    """Why it was not faster; nothing where it is under way, or stopped too soon to say."""
    pace, state = summary.get("pace"), summary["state"]
    shown = pace is not None and state != "running" and (state == "complete" or pace["bound_by"] is not None)
    return str(pace["why"]) if shown else ""


def _output(summary: Json) -> str:
    output: str = summary["output"]
    if summary["state"] == "complete":
        return output if summary["records"]["total"] is not None else ""
    return f"{output}.partial so far" if Path(f"{output}.partial").exists() else ""


def _failed(summary: Json) -> str:
    if not summary["records"]["failed"]:
        return ""
    common = sorted(summary["codes"].items(), key=lambda each: (-each[1], each[0]))
    shown = [f"{code}: {count:,}" for code, count in common[:_SHOWN_CODES]]
    if len(common) > _SHOWN_CODES:
        shown.append(f"others: {sum(count for _, count in common[_SHOWN_CODES:]):,}")
    return f"{summary['errors']} ({', '.join(shown)})" if shown else str(summary["errors"])
