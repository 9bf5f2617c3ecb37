"""`pipeline check`: validates an input, or that an output answers its input exactly once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.flags import again, config_and_flags, overrides
from pipeline.cli.load import load_config
from pipeline.cli.streams import say
from pipeline.loop import run_loop
from pipeline.observers.log import printable
from pipeline.types import Json

if TYPE_CHECKING:
    from pipeline.checking import CheckReport

_BAD_INPUT = 2
_BAD_OUTPUT = 5


@click.command()
@config_and_flags
@click.option("--id", "id_field", metavar="FIELD", help="The field of FILE that names a record.")
@click.option("--json", "as_json", is_flag=True, help="One object.")
def check(config: Path, id_field: str | None, as_json: bool, **values: Json) -> int:
    """Check an input FILE; or, for a CONFIG (.yaml), its input, and that its finished output answers each record once.

    Sends nothing and writes nothing. Exit code 0: no problem; 2: the input has some; 5: the output has.

    \b
    Examples:
        pipeline check data/tickets.jsonl --id ticket_id   an input file
        pipeline check configs/tickets.yaml                a config
    """
    # They bring tokenizers and prices, which --help need not wait for.
    from pipeline.assembly import places_of  # noqa: PLC0415
    from pipeline.checking import check_input, check_run  # noqa: PLC0415

    if config.suffix not in {".yaml", ".yml"}:
        report = run_loop(check_input(str(config), id_field))
        return _report(report, as_json, _BAD_INPUT, "mend these lines; a run makes dead letters of them")
    given = overrides(values)
    loaded = load_config(config, given, looks_back=True)
    command = again("run", config, given)
    if places_of(loaded).output.exists():
        return _report(run_loop(check_run(loaded)), as_json, _BAD_OUTPUT, f"{command} --repair")
    advice = f"mend these lines, or {command}, which makes dead letters of them (--strict refuses them)"
    return _report(run_loop(check_run(loaded)), as_json, _BAD_INPUT, advice)


def _report(report: CheckReport, as_json: bool, code: int, advice: str) -> int:
    """Print what was found on stdout, and on stderr what to do about it."""
    if as_json:
        say(json.dumps({"schema_version": 1, "ok": report.ok, **report._asdict()}), err=False)
    else:
        hidden = report.problems - len(report.lines)
        more = [f"… and {hidden:,} more"] if hidden else []
        problems = _counted(report.problems, "problem") if report.problems else "no problem"
        lines = [*map(printable, report.lines), *more, f"{_counted(report.records, 'record')}, {problems}"]
        say("\n".join(lines), err=False)
    if report.ok:
        return 0
    say(f"next: {advice}")
    return code


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
