"""From a URL to a client: one line in the table for each way to run Redis.

    redis://[user:password@]host:port/db        rediss:// the same over TLS
    redis+sentinel://host:port,host:port/SERVICE[/db]
    redis+cluster://host:port,host:port

Over the last two TLS is asked for by ``?tls=1``. A query may name ``ssl_ca_certs`` (a file), ``prefix`` (of the
keys, ``idk`` otherwise) and ``sentinel_password``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from urllib.parse import SplitResult

#: A store that takes longer is as good as down: answers never wait for it, and what is recorded waits.
TIMEOUT_S = 2.0
CONNECT_S = 1.0
PREFIX = "idk"


class Opened(NamedTuple):
    """A client, and those that it asks where its server is."""

    redis: Any
    others: tuple[Any, ...] = ()

    async def aclose(self) -> None:
        """Close their connections."""
        for client in (self.redis, *self.others):
            await client.aclose()


def options_of(parts: SplitResult) -> dict[str, str]:
    """The query of a URL."""
    return dict(parse_qsl(parts.query))


def _settings() -> dict[str, Any]:
    from redis.asyncio.retry import Retry
    from redis.backoff import ConstantBackoff

    # Once more at once: a connection that lay idle may have been closed. What waits longer, the caller knows.
    retry = Retry(ConstantBackoff(0.05), 1)
    return {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": CONNECT_S, "retry": retry}


def _alone(parts: SplitResult) -> Opened:
    from redis.asyncio import Redis

    options = options_of(parts)
    options.pop("prefix", None)
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return Opened(Redis.from_url(urlunsplit(parts._replace(query=query)), **_settings()))


def _sentinel(parts: SplitResult) -> Opened:
    from redis.asyncio.sentinel import Sentinel

    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("name the service after the Sentinels, as redis+sentinel://host:26379/mymaster")
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
        raise ValueError("give HOST:PORT, several of them with commas between")
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


#: How a client is made by the URL's scheme.
CONNECTIONS: Mapping[str, Callable[[SplitResult], Opened]] = {
    "redis": _alone,
    "rediss": _alone,
    "redis+sentinel": _sentinel,
    "redis+cluster": _cluster,
}
