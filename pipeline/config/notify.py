"""The schema of who is told how a run goes: `notify` and `heartbeat`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationInfo, WithJsonSchema, model_validator

from pipeline.config.base_url import check_url
from pipeline.config.group import FieldName, Group, Seconds
from pipeline.config.keys import check_reference, is_reference
from pipeline.config.mail_server import mail_server
from pipeline.config.paths import Filling
from pipeline.core.notification import RunEvent

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)
_ADDRESSES_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def _reference(value: str, info: ValidationInfo) -> str:
    """A reference with `{here}` filled in."""
    filling: Filling | None = info.context
    reference = check_reference(value)
    return reference if filling is None else reference.replace("{here}", filling.here)


def _user(value: str, info: ValidationInfo) -> str:
    return _reference(value, info) if is_reference(value) else value


def _url(value: str, info: ValidationInfo) -> str:
    if is_reference(value):
        return _reference(value, info)
    if "?" in value:
        raise ValueError("has a query, which may be a secret: name the URL, as env:NAME or file:PATH")
    return check_url(value, "https://example.com/hook")


def _server(value: str) -> str:
    mail_server(value)
    return value


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError("must be an e-mail address such as ops@example.com, and nothing beside it")
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Url = Annotated[str, AfterValidator(_url)]
Reference = Annotated[str, AfterValidator(_reference)]
Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_as_list), Strict(False), WithJsonSchema(_ADDRESSES_SCHEMA)]
Patience = Annotated[Seconds, Field(gt=0, le=300)]


class Webhook(Group):
    """A POST of the event as JSON."""

    url: Url | None = Field(default=None, repr=False)
    """env:NAME or file:PATH where the URL is a secret, as Slack's are, else the URL; https, or http to this machine."""
    secret: Reference | None = None
    """env:NAME or file:PATH of what deliveries are signed with: HMAC-SHA256, as Standard Webhooks has it."""

    @model_validator(mode="after")
    def _secret_has_a_url(self) -> Webhook:
        if self.secret and not self.url:
            raise ValueError("a secret needs a url")
        return self


class Email(Group):
    """A message through an SMTP server."""

    to: Addresses = ()
    """An address, or a list of them."""
    sender: Address | None = None
    """The address that it is from."""
    server: Annotated[str, AfterValidator(_server)] | None = None
    """smtps://host:465 for TLS from the start, smtp://host:587 for STARTTLS; without TLS to this machine alone."""
    user: Annotated[FieldName, AfterValidator(_user)] | None = None
    """The user to log in as, or env:NAME or file:PATH."""
    password: Reference | None = None
    """env:NAME or file:PATH of the password."""

    @model_validator(mode="after")
    def _is_whole(self) -> Email:
        needed = (self.to, self.sender, self.server)
        if not all(needed) and any((*needed, self.user, self.password)):
            raise ValueError("an e-mail needs to, sender and server")
        if bool(self.user) != bool(self.password):
            raise ValueError("a login needs user and password")
        return self


class Notify(Group):
    """Who is told how a run went, and when: by a command, a webhook, an e-mail, or several of them."""

    on: Annotated[tuple[RunEvent, ...], Strict(False)] = (
        "complete", "dead_letters", "soft_budget", "hard_budget", "deadline", "failed",
    )  # fmt: skip
    """What is told: `complete` (exit code 0, where anything was done), `dead_letters` (3), `soft_budget` (under way),
    `hard_budget` and `deadline` (4), `failed` (1, 2, 5, 6, 7, 74), `interrupted` (130, 143), `locked` (75)."""
    command: Annotated[tuple[FieldName, ...], Strict(False)] = ()
    """A program and its arguments, without a shell; the event is JSON on its standard input."""
    webhook: Webhook = Webhook()
    email: Email = Email()
    timeout: Patience = 10.0
    """A delivery, repeats included; so long may the end of a run wait for it."""


class Heartbeat(Group):
    """A dead man's switch, as healthchecks.io has it: it raises the alarm when no ping comes."""

    url: Url | None = Field(default=None, repr=False)
    """Pinged when all went well; with `/start` when the run begins, with `/CODE` when it ends with another exit code.
    env:NAME or file:PATH, or the URL itself."""
    timeout: Patience = 10.0
    """A ping, repeats included; so long may the end of a run wait for it."""
