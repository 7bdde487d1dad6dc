"""Which requests a port takes at all: the Host and Origin checks of both ports, every method.

A server on loopback is a network server: a page in the user's browser can send it requests,
under a name of its own choosing (DNS rebinding) or from a foreign origin.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from gnomon.core.errors import Forbidden, Misdirected

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


def allowed_hosts(ports: Iterable[int]) -> frozenset[str]:
    """Return the Host headers under which a loopback server answers."""
    suffixes = ("", *(f":{port}" for port in ports))
    return frozenset(name + suffix for name in LOOPBACK_NAMES for suffix in suffixes)


def check_host(hosts: list[str], allowed: frozenset[str]) -> None:
    """Refuse a request that was meant for another server.

    Args:
        hosts: Every Host header of the request, as sent.
        allowed: See `allowed_hosts`.

    Raises:
        Misdirected: There is not exactly one Host header, or it names another server.
    """
    if len(hosts) != 1 or hosts[0].lower() not in allowed:
        raise Misdirected(
            "The Host header must name this server: 127.0.0.1 or localhost, with its port."
        )


def check_origin(origin: str | None, fetch_site: str | None, allowed: frozenset[str]) -> None:
    """Refuse a request that a page of another site sent.

    Args:
        origin: The Origin header; browsers send it, programs do not.
        fetch_site: The Sec-Fetch-Site header, likewise.
        allowed: Hosts that are this server.

    Raises:
        Forbidden: The request comes from a foreign origin.
    """
    foreign = origin is not None and _host_of(origin) not in allowed
    if foreign or (fetch_site is not None and fetch_site not in {"same-origin", "none"}):
        raise Forbidden("Requests from pages of other sites are refused.")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # "http://[", which no browser sends
        return ""
