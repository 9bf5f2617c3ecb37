"""Where e-mail is handed in: `smtps://host:465` speaks TLS from the start, `smtp://host:587` changes to it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.config.base_url import is_loopback, split_url

Security = Literal["tls", "starttls", "none"]

_EXAMPLE = "smtps://mail.example.com:465 or smtp://mail.example.com:587"
_PORTS: dict[Security, int] = {"tls": 465, "starttls": 587, "none": 25}


class MailServer(NamedTuple):
    """A server that takes e-mail."""

    host: str
    port: int
    security: Security
    """`none` on this machine alone."""


def mail_server(url: str) -> MailServer:
    """Return what `url` names.

    Raises:
        ValueError: It is no `smtp` or `smtps` URL of a host, or holds more than host and port.
    """
    parts = split_url(url, {"smtp", "smtps"}, _EXAMPLE)
    host = parts.hostname or ""
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password: they have keys of their own")
    if parts.path.strip("/") or "?" in url or "#" in url:
        raise ValueError(f"must name a host and a port alone, such as {_EXAMPLE}")
    loopback = is_loopback(host)
    security: Security = "tls" if parts.scheme == "smtps" else "none" if loopback else "starttls"
    return MailServer(host, parts.port or _PORTS[security], security)
