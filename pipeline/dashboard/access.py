"""Who may look: the decisions, without a server.

A page that anybody's browser can be led to is attacked through the browser: by a name that first means the attacker's
server and then this machine (DNS rebinding), which the Host header gives away; and by pages of other places, which may
send requests here but, without CORS, never read the answer. Nothing here has an effect, so there is nothing to forge.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Access:
    """Who may look.

    Args:
        host: Where the server listens.
        token: What a visitor must show; None where everybody on this machine may look.
    """

    host: str
    token: str | None = None

    def knows_host(self, header: str | None) -> bool:
        """Whether a Host header names this server in a way that no name service can have been made to."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        if not is_loopback(self.host) and (_is_address(name) or name == self.host.lower()):
            return True
        return is_loopback(name)

    def admits(self, headers: Mapping[str, str], cookie: str) -> bool:
        """Whether a request shows the token, as Bearer or in the cookie of that name."""
        if self.token is None:
            return True
        scheme, _, value = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(value.strip()):
            return True
        try:
            kept = SimpleCookie(headers.get("Cookie", "")).get(cookie)
        except CookieError:
            return False
        return kept is not None and self.is_token(kept.value)

    def is_token(self, shown: str) -> bool:
        """Whether that is the token; takes as long for a near miss as for a far one."""
        return self.token is not None and hmac.compare_digest(shown.encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine alone."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
