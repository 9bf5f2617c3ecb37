"""Which base URLs a key may be sent to: https, or http on this machine, written without tricks."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from pipeline.backends.endpoint import forbidden_address

_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", re.ASCII)
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]*|\d+", re.ASCII)
_URL = re.compile(r"[!-~]+", re.ASCII)


def check_base_url(url: str) -> str:
    """Return `url` without a slash at its end.

    Raises:
        ValueError: It is no https URL of a host (http is for loopback), or has a password, a query, a fragment, an
            address that is not written plainly, or one that only this machine's network serves.
    """
    if not _URL.fullmatch(url) or "\\" in url:
        raise ValueError("must be a URL in plain ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL such as https://api.openai.com/v1") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or parts.netloc.endswith(":"):
        raise ValueError("must be a URL such as https://api.openai.com/v1")
    _refuse_extras(url, parts)
    loopback = _is_loopback(parts.hostname)
    if parts.scheme == "http" and not loopback:
        raise ValueError("must begin with https:// (http is for 127.0.0.1, ::1 and localhost)")
    return url.rstrip("/")


def host_of(url: str) -> str:
    """Return the host of a checked base URL, in lower case."""
    return urlsplit(url).hostname or ""


def _refuse_extras(url: str, parts: SplitResult) -> None:
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password: keys belong in api_key, as env:NAME")
    if "?" in url or "#" in url:
        raise ValueError("must not have a query or fragment")
    if any(segment in {".", ".."} for segment in parts.path.replace("%2e", ".").replace("%2E", ".").split("/")):
        raise ValueError("must not have . or .. in its path")


def _is_loopback(host: str) -> bool:
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
