"""The product's HTTP transport and, as an oracle for its tests and benchmark, one on aiohttp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.upstreams.http1 import make_transport
from tests.proxy.upstreams.aiohttp_transport import make_aiohttp_transport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from proxy.upstreams.http1 import PoolLimits
    from proxy.upstreams.transport import Timeouts, Transport


class TransportFactory(Protocol):
    """A function that returns a transport to a base URL."""

    def __call__(
        self,
        base_url: str,
        timeouts: Timeouts | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        limits: PoolLimits | None = None,
    ) -> Transport:
        """Return a transport that has no connection yet."""
        ...


TRANSPORTS: Final[Mapping[str, TransportFactory]] = {
    "http1": make_transport,
    "aiohttp": make_aiohttp_transport,
}
