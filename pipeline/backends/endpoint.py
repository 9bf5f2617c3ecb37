"""Where requests go: an address with its credentials, and how long it may take to answer."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import UsageError
from pipeline.secret import Secret, redact_patterns

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_HOST = re.compile(r"[a-z0-9]([a-z0-9-_.]*[a-z0-9])?", re.IGNORECASE)
_NUMERIC_LABEL = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)
"""A name that ends so is an IP address in disguise to the C library: `2130706433`, `127.1`, `0x7f.1`."""

_OWN_HEADERS = frozenset({"x-client-request-id"})
_ALLOWED_PREFIXES = ("x-", "openai-", "helicone-", "cf-aig-")
_ALLOWED_HEADERS = frozenset({"http-referer", "referer"})

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_FORBIDDEN = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # "this host"; connects to loopback
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "100.100.100.200/32",  # metadata of Alibaba Cloud
        "168.63.129.16/32",  # metadata of Azure
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "::/128",
        "fe80::/10",
        "fd00:ec2::/32",  # metadata of AWS
        "ff00::/8",
    )
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of one attempt, in seconds.

    Args:
        connect: Name look-up, connection and TLS handshake together.
        total: From the start to the last byte of the body.
    """

    connect: float = 10.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A base URL with its credentials.

    Args:
        name: Its name in `endpoints.yaml`.
        base_url: Such as `https://api.openai.com/v1`; plain http is for loopback only.
        api_key: Sent as a Bearer token; None where the server asks for none.
        organization: Sent as `OpenAI-Organization`.
        project: Sent as `OpenAI-Project`.
        headers: Further headers; only `X-…`, `OpenAI-…` and the like may be set.
        proxy_from_env: Take the proxy from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
        ca_file: PEM file of the certificate authorities to trust in place of the system's.

    Raises:
        UsageError: The URL or a header is not allowed.
    """

    name: str
    base_url: str
    api_key: Secret | None = None
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    proxy_from_env: bool = False
    ca_file: str | None = None

    def __post_init__(self) -> None:
        _check_url(self.name, self.base_url)
        for name, value in self.headers.items():
            _check_header(self.name, name, value)
        for what, text in (("organization", self.organization), ("project", self.project)):
            if text is not None and not _HEADER_VALUE.fullmatch(text):
                raise UsageError(f"endpoint {self.name}: {what} may hold printable ASCII characters only")
        if self.api_key is not None and not _HEADER_VALUE.fullmatch(self.api_key.reveal()):
            raise UsageError(f"endpoint {self.name}: the key holds a line break or a character that is not ASCII")

    def redact(self, text: str) -> str:
        """Return `text` without this endpoint's key and without what looks like one."""
        return redact_patterns(text) if self.api_key is None else self.api_key.redact(text)


def forbidden_address(text: str) -> bool:
    """Whether requests must never go to this IP address: link-local, cloud metadata, unspecified, multicast."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _embedded(address) or address
    return any(address in network for network in _FORBIDDEN)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _check_url(name: str, base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"endpoint {name}: base_url is no URL: {error}") from None
    problem = _problem(parts)
    if problem:
        raise UsageError(f"endpoint {name}: base_url {problem}")


def _problem(parts: SplitResult) -> str | None:
    """Return what is wrong with a base URL, or None."""
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or password: give `api_key`"
    if parts.query or parts.fragment:
        return "must not have a query or fragment"
    host = parts.hostname or ""
    address = _address(host)
    if address is None:
        problem = _name_problem(host)
        if problem:
            return problem
    elif forbidden_address(host):
        return f"names {host}, an address that requests must never go to"
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host, address)):
        return None
    return "must begin with https:// (http:// is for loopback only)"


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _name_problem(host: str) -> str | None:
    if not _HOST.fullmatch(host):
        return "needs a host name in ASCII without a trailing dot"
    if _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        return f"names {host}, which is no host name and no IP address in its usual form"
    return None


def _is_loopback(host: str, address: Address | None) -> bool:
    return host == "localhost" if address is None else address.is_loopback


def _check_header(endpoint: str, name: str, value: str) -> None:
    lower = name.lower()
    allowed = lower.startswith(_ALLOWED_PREFIXES) or lower in _ALLOWED_HEADERS
    if not _TOKEN.fullmatch(name) or not allowed or lower in _OWN_HEADERS:
        raise UsageError(f"endpoint {endpoint}: the header {name!r} may not be set")
    if not _HEADER_VALUE.fullmatch(value):
        raise UsageError(f"endpoint {endpoint}: the header {name!r} may hold printable ASCII characters only")
