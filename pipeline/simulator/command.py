"""The command line of the simulator: `pipeline simulate`, and `python -m pipeline.simulator`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


def _rates(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    return dict(_rate(value) for value in values)


def _rate(value: str) -> tuple[str, float]:
    name, _, share = value.partition("=")
    try:
        return name, float(share)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not NAME=SHARE, such as server_error=0.1") from None


def _script(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _print_faults(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from pipeline.simulator.faults import FAULTS  # noqa: PLC0415 - as below

        click.echo("\n".join(FAULTS))
        context.exit()


@click.command("simulate")
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="0 takes a free port.")
@click.option("--rpm", type=int, help="Requests per minute.")
@click.option("--tpm", type=int, help="Tokens per minute.")
@click.option("--burst-seconds", type=float, default=1.0, show_default=True, help="Seconds' worth of a limit at once.")
@click.option("--latency", type=float, default=0.0, help="Seconds that a request takes.")
@click.option("--jitter", type=float, default=0.0, help="Seconds by which the latency varies.")
@click.option("--seed", type=int, default=0, help="Seed of faults and jitter.")
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), help="JSONL file of all requests.")
@click.option("--require-key", help="The only API key that is let in.")
@click.option("--cached-share", type=float, default=0.0, help="Share of prompt tokens billed as cached.")
@click.option("--reasoning-tokens", type=int, default=0, help="Reasoning tokens of each chat answer.")
@click.option("--max-items", type=int, default=2048, show_default=True, help="The most inputs of one request.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "wordllama", "hashing"]),
    default="auto",
    show_default=True,
    help="Where vectors come from; auto takes wordllama where its weights are installed.",
)
@click.option("--fault", "rates", multiple=True, metavar="NAME=SHARE", callback=_rates, help="A fault and its share.")
@click.option("--script", default="", metavar="NAME,…", callback=_script, help="Faults of the first requests, or ok.")
@click.option("--quota-after", type=int, help="Served requests after which the quota is used up.")
@click.option("--revoke-after", type=int, help="Served requests after which the key is revoked.")
@click.option("--hang-seconds", type=float, default=3600.0, show_default=True, help="How long hang and drip last.")
@click.option("--late-seconds", type=float, default=30.0, show_default=True, help="How much later the fault late is.")
@click.option(
    "--list-faults", is_flag=True, is_eager=True, expose_value=False, callback=_print_faults, help="Print all faults."
)
def simulate(**values: Any) -> None:
    """Serve the built-in simulator of an OpenAI-style API on this machine, until Ctrl-C.

    It embeds with real local weights, enforces rate limits, injects faults and keeps a bill. It is no AI service. The
    first line on stdout is its base URL; `endpoint: simulator` finds it on port 8010.

    \b
    Examples:
        pipeline simulate --port 8010 &
        OPENAI_BASE_URL=http://127.0.0.1:8010/v1 pipeline run configs/tickets.yaml
        pipeline simulate --rpm 300 --fault server_error=0.1 --record requests.jsonl
    """
    # They bring numpy and aiohttp's server, which --help need not wait for.
    from pipeline.simulator.faults import Faults  # noqa: PLC0415
    from pipeline.simulator.options import Options  # noqa: PLC0415
    from pipeline.simulator.serve import run_forever  # noqa: PLC0415

    names = ("rates", "script", "quota_after", "revoke_after", "hang_seconds", "late_seconds")
    try:
        faults = Faults(**{name: values.pop(name) for name in names})
        options = Options(faults=faults, **values)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    run_forever(options)
