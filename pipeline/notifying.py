"""From a config to whoever is told how its run goes."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, TypeVar

from pipeline.assembly import places_of
from pipeline.channels.base import Channel, Undelivered
from pipeline.channels.deliveries import Send, deliver
from pipeline.channels.heartbeat import Heartbeat
from pipeline.config import Loaded, check_url, host_of, is_reference, mail_server, read_secret
from pipeline.errors import UsageError
from pipeline.observers.notify import Audience, compose
from pipeline.observers.summary import Part, Summary
from pipeline.secret import Secret
from pipeline.types import Json

_PRINTABLE = re.compile(r"[ -~]+", re.ASCII)
"""What a login is made of: some providers write spaces into passwords."""
_T = TypeVar("_T")
_Make = Callable[[Loaded, str], _T]
"""Makes what is reached at a place. Raises UsageError or ValueError where that is impossible."""


class Tried(NamedTuple):
    """What became of a test."""

    place: str
    seconds: float
    failure: Undelivered | None


def audience(loaded: Loaded) -> Audience:
    """Return who is told. What a config names and cannot be used stops no run: it is among the problems."""
    notify, beat = loaded.config.notify, loaded.config.heartbeat
    channels: dict[str, _Make[Channel]] = {}
    if notify.command:
        channels["command"] = _program
    if notify.webhook.url is not None:
        channels[f"webhook ({_shown(notify.webhook.url)})"] = _webhook
    if notify.email.server is not None:
        channels[f"e-mail ({mail_server(notify.email.server).host})"] = _mail
    heartbeats = {} if beat.url is None else {f"heartbeat ({_shown(beat.url)})": _heartbeat}
    problems: list[tuple[str, Undelivered]] = []
    return Audience(
        channels=_made(channels, loaded, problems),
        on=notify.on,
        timeout=notify.timeout,
        heartbeat=next(iter(_made(heartbeats, loaded, problems)), None),
        heartbeat_timeout=beat.timeout,
        problems=problems,
    )


async def try_out(loaded: Loaded) -> list[Tried]:
    """Send everybody a test, ping the heartbeat as a run does that went well, and return what became of it."""
    told = audience(loaded)
    test = compose("test", _nothing_done(loaded), time.time())
    sends: list[tuple[str, Send, float]] = [
        (channel.place, partial(channel.deliver, test), told.timeout) for channel in told.channels
    ]
    if told.heartbeat is not None:
        sends.append((told.heartbeat.place, partial(told.heartbeat.ended, 0), told.heartbeat_timeout))
    unusable = [Tried(place, 0.0, problem) for place, problem in told.problems]
    return unusable + await asyncio.gather(*(_try(*each) for each in sends))


async def _try(place: str, send: Send, most: float) -> Tried:
    began = time.monotonic()
    failure = await deliver(send, most)
    return Tried(place, time.monotonic() - began, failure)


def _made(wanted: Mapping[str, _Make[_T]], loaded: Loaded, problems: list[tuple[str, Undelivered]]) -> list[_T]:
    made = []
    for place, make in wanted.items():
        try:
            made.append(make(loaded, place))
        except (UsageError, ValueError) as error:
            problems.append((place, Undelivered(str(error), again=False)))
    return made


# What is only imported where it is wanted would cost every other run its time.


def _program(loaded: Loaded, _place: str) -> Channel:
    from pipeline.channels.program import Program  # noqa: PLC0415 - see above

    secrets = loaded.secret_variables
    return Program(loaded.config.notify.command, {k: v for k, v in os.environ.items() if k not in secrets})


def _webhook(loaded: Loaded, place: str) -> Channel:
    from pipeline.channels.webhook import Webhook  # noqa: PLC0415 - see above

    webhook = loaded.config.notify.webhook
    url = _url(webhook.url or "", loaded)
    secret = None if webhook.secret is None else Secret(read_secret(webhook.secret, loaded.environ, "webhook secret"))
    return Webhook(place, url, secret)


def _mail(loaded: Loaded, place: str) -> Channel:
    from pipeline.channels.mail import Account, Mail  # noqa: PLC0415 - see above

    email, timeout = loaded.config.notify.email, loaded.config.notify.timeout
    account = Account(*mail_server(email.server or ""), _login(email.user, loaded), _login(email.password, loaded))
    return Mail(place, account, email.sender or "", email.to, timeout)


def _heartbeat(loaded: Loaded, place: str) -> Heartbeat:
    return Heartbeat(place, _url(loaded.config.heartbeat.url or "", loaded))


def _url(value: str, loaded: Loaded) -> Secret:
    """The URL that a config gives or names; one that is named may have a query, which a config may not show."""
    if not is_reference(value):
        return Secret(value)
    try:
        return Secret(check_url(read_secret(value, loaded.environ, "URL"), "https://example.com/hook", query=True))
    except ValueError as error:
        raise ValueError(f"what {value} names {error}") from None


def _login(value: str | None, loaded: Loaded) -> Secret | None:
    if value is None:
        return None
    return Secret(read_secret(value, loaded.environ, "login", _PRINTABLE) if is_reference(value) else value)


def _shown(url: str) -> str:
    """A URL in words that hold no secret."""
    return url if is_reference(url) else host_of(url)


def _nothing_done(loaded: Loaded) -> Json:
    """The summary of a run that found nothing to do."""
    places, now = places_of(loaded), datetime.now(UTC).isoformat(timespec="milliseconds")
    return Summary(
        job=loaded.config.job,
        name=loaded.config.name,
        state="complete",
        exit_code=0,
        started_at=now,
        ended_at=now,
        message=None,
        output=os.fspath(places.output),
        errors=os.fspath(places.errors),
        whole=Part(),
        this_run=Part(),
        seconds=0.0,
    ).as_dict()
