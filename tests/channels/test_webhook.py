from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple

import orjson
import pytest

from pipeline.channels.webhook import Webhook
from pipeline.secret import Secret
from tests.backends.wire import WireServer
from tests.channels.events import NOON, told
from tests.channels.handlers import OK, writes

SECRET = "canary-of-a-webhook"
TOLERANCE = 300
"""Seconds that a receiver lets a delivery be old."""


class Received(NamedTuple):
    """A delivery as its receiver sees it."""

    headers: dict[str, str]
    body: bytes

    def verify(self, key: bytes, now: float) -> bool:
        """The recipe of the documentation, with nothing of ours."""
        identity, timestamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        if abs(now - int(timestamp)) > TOLERANCE:
            return False
        signed = f"{identity}.{timestamp}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(expected, self.headers["webhook-signature"])


def received(raw: bytes) -> Received:
    head, _, body = raw.partition(b"\r\n\r\n")
    pairs = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
    return Received({name.lower(): value for name, value in pairs}, body)


async def delivered(secret: str | None) -> Received:
    async with WireServer(writes(OK)).running() as wire:
        url = Secret(f"http://127.0.0.1:{wire.port}/hook")
        hook = Webhook("webhook", url, None if secret is None else Secret(secret), lambda: NOON + 0.9)
        await hook.deliver(told())
    return received(wire.requests[0])


async def test_the_event_is_the_body() -> None:
    body = orjson.loads((await delivered(None)).body)

    assert (body["schema_version"], body["event"], body["name"]) == (1, "complete", "tickets")
    assert body["text"] == "tickets: complete: 500 of 500 records have a result; cost: $0.0012"


async def test_the_signature_is_what_the_recipe_makes_of_it() -> None:
    seen = await delivered(SECRET)

    assert seen.headers["webhook-timestamp"] == str(int(NOON))
    assert seen.verify(SECRET.encode(), NOON)
    assert not seen.verify(b"another key", NOON)


async def test_an_encoded_secret_stands_for_its_bytes() -> None:
    key = bytes(range(32))
    seen = await delivered("whsec_" + base64.b64encode(key).decode())

    assert seen.verify(key, NOON)


async def test_a_replay_is_noticed_by_its_age_and_by_a_timestamp_that_was_changed() -> None:
    seen = await delivered(SECRET)
    later = NOON + TOLERANCE + 1
    renewed = seen._replace(headers={**seen.headers, "webhook-timestamp": str(int(later))})

    assert not seen.verify(SECRET.encode(), later)
    assert not renewed.verify(SECRET.encode(), later)


async def test_a_body_or_a_name_that_was_changed_is_noticed() -> None:
    seen = await delivered(SECRET)

    assert not seen._replace(body=seen.body.replace(b"complete", b"failed")).verify(SECRET.encode(), NOON)
    assert not seen._replace(headers={**seen.headers, "webhook-id": "0"}).verify(SECRET.encode(), NOON)


async def test_without_a_secret_nothing_is_signed() -> None:
    assert "webhook-signature" not in (await delivered(None)).headers


def test_a_secret_that_claims_to_be_encoded_and_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="must be base64"):
        Webhook("webhook", Secret("http://127.0.0.1/"), Secret("whsec_not base64!"))
