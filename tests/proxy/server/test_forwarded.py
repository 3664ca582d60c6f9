"""The client's address and scheme behind reverse proxies."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from proxy.exceptions import ConfigError
from proxy.server.forwarded import TrustedProxies

TRUSTED = TrustedProxies(["10.0.0.0/8", "2001:db8::/32"])


def request(address: str, *headers: tuple[str, str], scheme: str = "http") -> Request:
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/", "query_string": b"", "client": (address, 1), "scheme": scheme,
        "server": ("idk", 80), "headers": [(name.encode(), value.encode()) for name, value in headers],
    }  # fmt: skip
    return Request(scope)


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("192.0.2.9", [("x-forwarded-for", "203.0.113.1")], "192.0.2.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [("x-forwarded-for", "203.0.113.1")], "203.0.113.1"),
        # The client wrote the left entry itself.
        ("10.0.0.1", [("x-forwarded-for", "198.51.100.1, 203.0.113.1")], "203.0.113.1"),
        (
            "10.0.0.1",
            [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.1")],
            "203.0.113.1",
        ),
        ("10.0.0.1", [("x-forwarded-for", "203.0.113.1, 10.0.0.2")], "203.0.113.1"),
        ("10.0.0.1", [("x-forwarded-for", "203.0.113.1:4711")], "203.0.113.1"),
        ("10.0.0.1", [("x-forwarded-for", "nonsense")], "10.0.0.1"),
        ("10.0.0.1", [("forwarded", 'for="[2001:db9::1]:80";proto=https')], "2001:db9::1"),
        ("10.0.0.1", [("forwarded", "for=198.51.100.1, for=203.0.113.1;proto=http")], "203.0.113.1"),
        # Two headers that disagree: the proxy sets only one of them.
        ("10.0.0.1", [("forwarded", "for=198.51.100.1"), ("x-forwarded-for", "203.0.113.1")], "10.0.0.1"),
        ("10.0.0.1", [("forwarded", "for=203.0.113.1"), ("x-forwarded-for", "203.0.113.1")], "203.0.113.1"),
        ("2001:db8::1", [("x-forwarded-for", "203.0.113.1")], "203.0.113.1"),
    ],
)
def test_the_address(peer: str, headers: list[tuple[str, str]], address: str) -> None:
    assert TRUSTED.address(request(peer, *headers)) == address


def test_nothing_is_trusted_by_default() -> None:
    headers = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-proto", "https")]
    assert TrustedProxies().address(request("127.0.0.1", *headers)) == "127.0.0.1"
    assert not TrustedProxies().is_https(request("127.0.0.1", *headers))


@pytest.mark.parametrize(
    ("peer", "headers", "secure"),
    [
        ("10.0.0.1", [("x-forwarded-proto", "https")], True),
        ("10.0.0.1", [("forwarded", "for=203.0.113.1;proto=https")], True),
        ("10.0.0.1", [("x-forwarded-proto", "http")], False),
        ("10.0.0.1", [], False),
        ("192.0.2.9", [("x-forwarded-proto", "https")], False),
    ],
)
def test_the_scheme(peer: str, headers: list[tuple[str, str]], secure: bool) -> None:
    assert TRUSTED.is_https(request(peer, *headers)) == secure
    assert TRUSTED.is_https(request(peer, *headers, scheme="https"))


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"server\.trusted_proxies: 'nginx' is not an address"):
        TrustedProxies(["nginx"])
