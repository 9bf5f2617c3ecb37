from __future__ import annotations

import pytest

from pipeline.core.verdict import Figures, Flow, Machine, Slots, verdict

FLOW = Flow(
    attempts=10_000,
    again=0,
    throttled=0,
    requests_per_minute=6_000,
    tokens_per_minute=196_000,
    utilisation=0.0,
    in_flight=60,
    median=0.48,
)
LIMITED = FLOW._replace(utilisation=0.98, in_flight=10)
HERE = FLOW._replace(in_flight=20)
"""Most slots wait for this machine."""
IDLE = Machine(process=10, loop=8, disk=5)
SLOTS = Slots(configured=64, in_force=64, max_items=1)
RUN = Figures(100, {}, 0, 0, FLOW, IDLE, SLOTS)

CASES = {
    "a reader of stdout that is slow": (
        RUN._replace(waited_for_reader=80.0, held={"requests": 15.0}, flow=LIMITED),
        "bound by the reader of stdout (it was behind for 80% of the time): let it read faster",
    ),
    "requests": (
        RUN._replace(held={"requests": 95.0, "concurrency": 2.0}, flow=LIMITED),
        "bound by requests a minute (6,000, 98% of the limit): get a higher limit (limits.rpm)",
    ),
    "requests that can be packed": (
        RUN._replace(held={"requests": 95.0}, flow=LIMITED, slots=SLOTS._replace(max_items=20)),
        "bound by requests a minute (6,000, 98% of the limit): raise batch.max_items, or get a higher limit",
    ),
    "tokens": (
        RUN._replace(held={"tokens": 60.0, "requests": 35.0}, flow=LIMITED),
        "bound by tokens a minute (196,000, 98% of the limit): shorten prompts, or get a higher limit (limits.tpm)",
    ),
    "tokens, on a busy machine that fills the limit": (
        RUN._replace(held={"tokens": 95.0}, flow=LIMITED, machine=Machine(97, 90, 5)),
        "bound by tokens a minute (196,000, 98% of the limit): shorten prompts, or get a higher limit (limits.tpm)",
    ),
    "a limit that others use as well": (
        RUN._replace(held={"tokens": 95.0}, flow=LIMITED._replace(utilisation=0.49)),
        "bound by tokens a minute (196,000, 49% of the limit): others use the same limit",
    ),
    "a limit that refusals keep from being used": (
        RUN._replace(held={"requests": 95.0}, flow=LIMITED._replace(utilisation=0.7, throttled=8)),
        "bound by requests a minute (6,000, 70% of the limit): refusals cut the pace, set the account's limits",
    ),
    "a machine too busy to fill the limit": (
        RUN._replace(held={"tokens": 95.0}, flow=LIMITED._replace(utilisation=0.8), machine=Machine(97, 90, 5)),
        "bound by this machine's CPU (97% of a core): use a faster one, or split the input over several",
    ),
    "per second": (
        RUN._replace(held={"per_second": 90.0}),
        "bound by limits.per_second: raise it if the server takes more",
    ),
    "pauses after refusals": (
        RUN._replace(held={"pause": 62.0, "requests": 30.0}, paused=62, flow=LIMITED._replace(throttled=9)),
        "bound by pauses after refusals (62 s of 100 s): set limits.rpm and limits.tpm to what the account has",
    ),
    "pauses after failures": (
        RUN._replace(paused=80, flow=FLOW._replace(again=40)),
        "bound by pauses after the server's failures (80 s of 100 s): find out what fails there (-v shows it)",
    ),
    "concurrency": (
        RUN._replace(held={"concurrency": 99.0}),
        "bound by concurrency (64 in flight, answers took 0.48 s at the median): raise limits.concurrency",
    ),
    "concurrency, with a busy disk that no slot waits for": (
        RUN._replace(held={"concurrency": 99.0}, machine=Machine(10, 8, 70)),
        "bound by concurrency (64 in flight, answers took 0.48 s at the median): raise limits.concurrency",
    ),
    "a server that gains nothing by more": (
        RUN._replace(held={"concurrency": 99.0}, slots=SLOTS._replace(in_force=32)),
        "bound by the server (no faster with more than 32 in flight, 0.48 s at the median): use a larger one",
    ),
    "answers that nobody else waits for": (
        RUN._replace(held={"concurrency": 49.0}),
        "bound by the server's latency (answers took 0.48 s at the median, nothing waited): use a faster model",
    ),
    "failures": (
        RUN._replace(flow=FLOW._replace(again=6_000)),
        "bound by the server's failures (60% of attempts were in vain): find out why (-v shows it)",
    ),
    "the sending thread": (
        RUN._replace(held={"concurrency": 99.0}, machine=Machine(88, 86, 5)),
        "bound by this machine's CPU (88% of a core): use a faster one, or split the input over several",
    ),
    "the threads together": (
        RUN._replace(machine=Machine(96, 60, 40)),
        "bound by this machine's CPU (96% of a core): use a faster one, or split the input over several",
    ),
    "the disk": (
        RUN._replace(held={"concurrency": 99.0}, flow=HERE, machine=Machine(10, 8, 70)),
        "bound by the disk (writing took 70% of the time): use a faster one, or raise limits.concurrency",
    ),
    "a writer whose turn comes late": (
        RUN._replace(held={"concurrency": 99.0}, flow=HERE, machine=Machine(30, 28, 49, load=3.4)),
        "bound by this machine's CPU (3.4 programs want each core): end some, or use another machine",
    ),
    "a slow server, asked from a crowded machine": (
        RUN._replace(held={"concurrency": 99.0}, machine=Machine(30, 28, 49, load=3.4)),
        "bound by concurrency (64 in flight, answers took 0.48 s at the median): raise limits.concurrency",
    ),
    "a slow pipe": (
        RUN._replace(waited_for_input=97, flow=FLOW._replace(in_flight=1)),
        "bound by the input (it came in for 97% of the time and nothing waited): feed the pipe faster",
    ),
    "a pipe that keeps up": (
        RUN._replace(waited_for_input=97, held={"concurrency": 99.0}),
        "bound by concurrency (64 in flight, answers took 0.48 s at the median): raise limits.concurrency",
    ),
    "a pipe that ended early": (
        RUN._replace(waited_for_input=2, flow=FLOW._replace(median=21.3)),
        "bound by the server's latency (answers took 21 s at the median, nothing waited): use a faster model",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sentence_names_the_cause_and_what_to_change(case: str) -> None:
    figures, sentence = CASES[case]

    assert verdict(figures).sentence == sentence
    assert len(sentence) < 120


@pytest.mark.parametrize(("seconds", "attempts"), [(2.9, 1000), (600.0, 15)])
def test_a_short_run_says_that_it_was_too_short(seconds: float, attempts: int) -> None:
    short = RUN._replace(seconds=seconds, held={"requests": seconds}, flow=FLOW._replace(attempts=attempts))

    assert verdict(short) == (None, "too short to say what bound it")


def test_long_enough_is_three_seconds_and_sixteen_attempts() -> None:
    assert verdict(RUN._replace(seconds=3.0, flow=FLOW._replace(attempts=16))).bound_by is not None


def test_a_limit_that_nobody_knows_has_no_share() -> None:
    unknown = RUN._replace(held={"requests": 95.0}, flow=LIMITED._replace(utilisation=0.0))

    assert verdict(unknown).sentence.startswith("bound by requests a minute (6,000): ")


def test_large_figures_keep_the_sentence_short() -> None:
    large = FLOW._replace(
        requests_per_minute=9.9e6, tokens_per_minute=9.9e8, utilisation=1.0, median=599.0, throttled=1
    )
    slots = Slots(9_999, 4_999, 2_000)
    base = RUN._replace(seconds=999_999, flow=large, slots=slots, paused=0)
    for cause in ("requests", "tokens", "per_second", "pause", "concurrency"):
        assert len(verdict(base._replace(held={cause: 999_999.0})).sentence) < 120
