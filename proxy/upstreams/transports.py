"""The table of transports: which client carries the requests to an upstream."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final, Protocol

from proxy.exceptions import ConfigError
from proxy.upstreams.lean import LeanTransport
from proxy.upstreams.origin import Origin
from proxy.upstreams.transport import Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.upstreams.transport import Transport


class TransportFactory(Protocol):
    """Makes a transport; nothing is opened before its first request."""

    def __call__(
        self, origin: Origin, timeouts: Timeouts, tls: ssl.SSLContext | None, max_connections: int
    ) -> Transport: ...


def _aiohttp(
    origin: Origin, timeouts: Timeouts, tls: ssl.SSLContext | None, max_connections: int
) -> Transport:
    from proxy.upstreams.aiohttp_transport import AiohttpTransport  # its library costs a third of the start

    return AiohttpTransport(origin, timeouts, tls, max_connections)


TRANSPORTS: Final[Mapping[str, TransportFactory]] = {
    "lean": LeanTransport,
    "aiohttp": _aiohttp,
}


def make_transport(
    name: str,
    base_url: str,
    timeouts: Timeouts | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    max_connections: int = 1_000,
) -> Transport:
    """The transport ``name`` (a key of ``TRANSPORTS``) to ``base_url``.

    ``tls`` is the context for an https URL, by default the system's certificates (``SSL_CERT_FILE`` is
    honoured); a request over ``max_connections`` waits for one to come free, as long as for a connection.
    Raises ConfigError for an unknown name and for a URL that cannot be one.
    """
    factory = TRANSPORTS.get(name)
    if factory is None:
        raise ConfigError(f"transport: {name!r} is unknown; choose one of {', '.join(sorted(TRANSPORTS))}")
    origin = Origin.parse(base_url)
    context = tls
    if context is None and origin.tls:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
    return factory(origin, timeouts or Timeouts(), context if origin.tls else None, max_connections)
