"""The client's address and scheme behind trusted reverse proxies (``server.trusted_proxies``).

Headers count only if the connection comes from a trusted address. X-Forwarded-For and Forwarded (RFC 7239) are read
from the right, past trusted proxies: entries further left are the client's own claims.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import HTTPConnection


class TrustedProxies:
    """The networks of trusted reverse proxies; without any, every header is ignored."""

    def __init__(self, networks: Sequence[str] = ()) -> None:
        """Parse the networks; raises ConfigError."""
        self.networks = tuple(networks)
        self._networks: list[IPv4Network | IPv6Network] = []
        for text in networks:
            try:
                self._networks.append(ip_network(text))
            except ValueError as exc:
                raise ConfigError(
                    f"server.trusted_proxies: {text!r} is not an address or network; write one such as 10.0.0.0/8"
                ) from exc

    def address(self, connection: HTTPConnection) -> str:
        """Return the client's address: the peer's, or the nearest untrusted address that trusted proxies report."""
        address = connection.client.host if connection.client else ""
        if not self._trusts(address):
            return address
        reported = {name: self._nearest(chain) for name, chain in self._chains(connection).items() if chain}
        found = set(reported.values())
        # Two headers that disagree: one of them passed through a proxy that does not set it, and the client chose it.
        return found.pop() or address if len(found) == 1 else address

    def is_https(self, connection: HTTPConnection) -> bool:
        """Return whether the client's connection is encrypted, here or at a trusted proxy."""
        if connection.url.scheme == "https":
            return True
        if not self._trusts(connection.client.host if connection.client else ""):
            return False
        schemes = connection.headers.get("x-forwarded-proto", "").split(",")
        schemes += [each.get("proto", "") for each in _forwarded(connection)]
        return any(scheme.strip().lower() == "https" for scheme in schemes)

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def _chains(self, connection: HTTPConnection) -> dict[str, list[str]]:
        plain = ",".join(connection.headers.getlist("x-forwarded-for"))
        return {
            "x-forwarded-for": [_host(part) for part in plain.split(",") if part.strip()],
            "forwarded": [_host(each.get("for", "")) for each in _forwarded(connection)],
        }

    def _nearest(self, chain: Sequence[str]) -> str:
        for address in reversed(chain):
            if not self._trusts(address):
                return address
        return chain[0]


def _forwarded(connection: HTTPConnection) -> list[dict[str, str]]:
    """Return the parameters of each element of the Forwarded headers."""
    elements = ",".join(connection.headers.getlist("forwarded")).split(",")
    found = []
    for element in elements:
        if element.strip():
            pairs = (part.partition("=") for part in element.split(";"))
            found.append({name.strip().lower(): value.strip().strip('"') for name, _, value in pairs})
    return found


def _host(text: str) -> str:
    """Return the address of ``text`` without a port; an empty text where it holds none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
