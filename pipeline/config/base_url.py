"""Which URLs anything may be sent to: https, or http on this machine, written without tricks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container
from urllib.parse import SplitResult, urlsplit

from pipeline.backends.endpoint import forbidden_address

_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", re.ASCII)
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]*|\d+", re.ASCII)
_URL = re.compile(r"[!-~]+", re.ASCII)


def check_base_url(url: str) -> str:
    """Return `url` without a slash at its end. Raises ValueError as `check_url` does."""
    return check_url(url, "https://api.openai.com/v1").rstrip("/")


def check_url(url: str, example: str, *, query: bool = False) -> str:
    """Return `url` as it is.

    Args:
        url: What a user wrote.
        example: A right one, for messages.
        query: Whether it may have one.

    Raises:
        ValueError: It is no https URL of a host (http is for loopback), or has a password, a query, a fragment, an
            address that is not written plainly, or one that only this machine's network serves.
    """
    parts = split_url(url, {"http", "https"}, example)
    _refuse_extras(url, parts, query=query)
    loopback = is_loopback(parts.hostname or "")
    if parts.scheme == "http" and not loopback:
        raise ValueError("must begin with https:// (http is for 127.0.0.1, ::1 and localhost)")
    return url


def split_url(url: str, schemes: Container[str], example: str) -> SplitResult:
    """Return the parts of a URL that has one of `schemes` and names a host. Raises ValueError."""
    if not _URL.fullmatch(url) or "\\" in url:
        raise ValueError("must be a URL in plain ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"must be a URL such as {example}") from None
    if parts.scheme not in schemes or not parts.hostname or port == 0 or parts.netloc.endswith(":"):
        raise ValueError(f"must be a URL such as {example}")
    return parts


def host_of(url: str) -> str:
    """Return the host of a checked base URL, in lower case."""
    return urlsplit(url).hostname or ""


def _refuse_extras(url: str, parts: SplitResult, *, query: bool) -> None:
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password: a secret is named, as env:NAME")
    if "#" in url or ("?" in url and not query):
        raise ValueError("must not have a query or fragment")
    if any(segment in {".", ".."} for segment in parts.path.replace("%2e", ".").replace("%2E", ".").split("/")):
        raise ValueError("must not have . or .. in its path")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine. Raises ValueError for a host that no key may be sent to."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        _refuse_strange_name(host)
        return host == "localhost"
    if forbidden_address(host):
        raise ValueError("must not be a link-local, metadata, multicast or unspecified address")
    return address.is_loopback


def _refuse_strange_name(host: str) -> None:
    if host.endswith("."):
        raise ValueError("must not have a dot at the end of its host")
    if not _HOST.fullmatch(host):
        raise ValueError("must name its host in letters, digits, dots and dashes")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise ValueError("must write an IP address as four numbers from 0 to 255, without leading zeros")
