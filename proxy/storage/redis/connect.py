"""Redis clients by URL; ``CONNECTIONS`` has one line for each scheme.

    redis://[user:password@]host:port/db        rediss:// the same over TLS
    redis+sentinel://host:port,host:port/SERVICE[/db]
    redis+cluster://host:port,host:port

Sentinel and Cluster use TLS with ``?tls=1``. The query may set ``ssl_ca_certs`` (a file), ``prefix`` (of the keys,
``idk`` by default) and ``sentinel_password``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from urllib.parse import SplitResult

#: Seconds after which Redis counts as down. Requests never wait for it, and records are queued.
TIMEOUT_S = 2.0
CONNECT_S = 1.0
PREFIX = "idk"


class Opened(NamedTuple):
    """A client, and the Sentinel clients that it uses to find its server."""

    redis: Any
    others: tuple[Any, ...] = ()

    async def aclose(self) -> None:
        """Close the connections of all clients."""
        for client in (self.redis, *self.others):
            await client.aclose()


def options_of(parts: SplitResult) -> dict[str, str]:
    """Return the parameters in the query of a URL."""
    return dict(parse_qsl(parts.query))


def _settings() -> dict[str, Any]:
    from redis.asyncio.retry import Retry
    from redis.backoff import ConstantBackoff

    # One quick retry, since an idle connection may have been closed; StoreLink handles longer outages.
    retry = Retry(ConstantBackoff(0.05), 1)
    return {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": CONNECT_S, "retry": retry}


def _single(parts: SplitResult) -> Opened:
    from redis.asyncio import Redis

    if not parts.hostname:
        raise ValueError("no host")
    options = options_of(parts)
    options.pop("prefix", None)
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return Opened(Redis.from_url(urlunsplit(parts._replace(query=query)), **_settings()))


def _sentinel(parts: SplitResult) -> Opened:
    from redis.asyncio.sentinel import Sentinel

    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ConfigError("name the service after the Sentinels, as redis+sentinel://host:26379/mymaster")
    given = {**_settings(), **_login(parts), **_tls(parts)}
    ours = {**_settings(), **_tls(parts), "password": options_of(parts).get("sentinel_password")}
    sentinel = Sentinel(_hosts(parts, 26_379), sentinel_kwargs=ours, **given)  # type: ignore[no-untyped-call]
    return Opened(sentinel.master_for(service, db=int(db or 0)), tuple(sentinel.sentinels))


def _cluster(parts: SplitResult) -> Opened:
    from redis.asyncio.cluster import ClusterNode, RedisCluster

    nodes = [ClusterNode(host, port) for host, port in _hosts(parts, 6_379)]
    given: dict[str, Any] = {**_settings(), **_login(parts), **_tls(parts)}
    return Opened(RedisCluster(startup_nodes=nodes, **given))


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    hosts = [urlsplit(f"//{each}") for each in parts.netloc.rpartition("@")[2].split(",")]
    if not all(host.hostname for host in hosts):
        raise ConfigError("give HOST:PORT, or several separated by commas")
    return [(host.hostname or "", host.port or port) for host in hosts]


def _login(parts: SplitResult) -> dict[str, str]:
    login, at, _ = parts.netloc.rpartition("@")
    if not at:
        return {}
    user, _, password = login.partition(":")
    named = {"username": unquote(user)} if user else {}
    return {**named, "password": unquote(password)}


def _tls(parts: SplitResult) -> dict[str, Any]:
    options = options_of(parts)
    if options.get("tls") != "1":
        return {}
    return {"ssl": True, "ssl_ca_certs": options.get("ssl_ca_certs")}


#: Functions that create a client, by the URL's scheme.
CONNECTIONS: Mapping[str, Callable[[SplitResult], Opened]] = {
    "redis": _single,
    "rediss": _single,
    "redis+sentinel": _sentinel,
    "redis+cluster": _cluster,
}
