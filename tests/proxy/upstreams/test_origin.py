"""Parsing of base URLs, and a transport that has not been used."""

from __future__ import annotations

import pytest

from proxy.exceptions import ConfigError
from proxy.upstreams.http1 import make_transport
from proxy.upstreams.origin import Origin


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.example.com/v1", Origin(True, "api.example.com", 443, "api.example.com", "/v1")),
        ("https://api.example.com:443/v1/", Origin(True, "api.example.com", 443, "api.example.com", "/v1")),
        ("http://localhost:8000", Origin(False, "localhost", 8000, "localhost:8000", "")),
        ("http://[::1]:80/", Origin(False, "::1", 80, "[::1]", "")),
        ("http://bücher.example", Origin(False, "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "")),
    ],
)
def test_a_base_url_is_parsed(url: str, expected: Origin) -> None:
    assert Origin.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com/v1",
        "ftp://example.com",
        "https://",
        "https://x:99999/",
        "http://[::1/",
        "https://user:hunter2@example.com",
        "https://example.com/v1?key=hunter2",
        "https://example.com/v1#hunter2",
        "https://example.com/a b",
        "https://example.com/\u00e9",
        f"https://{'hunter2' * 20}.example",
    ],
)
def test_an_unusable_base_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url: ") as caught:
        Origin.parse(url)
    assert "hunter2" not in str(caught.value)


async def test_no_connection_is_opened_before_the_first_request() -> None:
    await make_transport("https://api.example.com/v1").aclose()
