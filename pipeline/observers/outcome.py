"""How a run stands or ended, in a sentence. Reads the published schema of a summary."""

from __future__ import annotations

from pipeline.observers.log import printable
from pipeline.observers.progress import money
from pipeline.types import Json


def nothing_to_do(summary: Json) -> bool:
    """Whether everything had been done before."""
    records, sent = summary["this_run"]["records"], summary["this_run"]["requests"]["sent"]
    return summary["state"] == "complete" and not (sent or records["ok"] or records["failed"])


def headline(summary: Json) -> str:
    """Return what happened, in one sentence."""
    state, records = summary["state"], summary["records"]
    total = "" if records["total"] is None else f" of {records['total']:,}"
    if state == "complete" and records["total"] is None and not records["ok"] + records["failed"]:
        return "nothing to do"
    if state == "complete":
        how = "already complete" if nothing_to_do(summary) else "finished" if records["failed"] else "complete"
        failed = f", {records['failed']:,} failed" if records["failed"] else ""
        return f"{how}: {records['ok']:,}{total} records have a result{failed}"
    if state == "running":
        return f"running: {records['ok'] + records['failed']:,}{total} records settled"
    return f"{state}: {printable(summary['message'] or 'nobody knows why')}"


def cost(summary: Json) -> str:
    """Return what was spent, of how much, and what is uncertain of it."""
    sums = summary["money"]
    if sums["price_source"] is None and not sums["spent_nusd"] and summary["requests"]["ok"]:
        return "unknown: no price is known for this model"
    cap = "" if sums["cap_nusd"] is None else f" of a budget of {money(sums['cap_nusd'])}"
    parts = [f"{money(sums['spent_nusd'])}{cap}"]
    if sums["retried_nusd"]:
        parts.append(f"{money(sums['retried_nusd'])} of it on retries")
    if sums["unknown_nusd"]:
        parts.append(f"at most {money(sums['unknown_nusd'])} more for lost answers")
    if summary["state"] == "running" and sums.get("projected_nusd"):
        parts.append(f"about {money(sums['projected_nusd'])} in the end")
    return ", ".join(parts)
