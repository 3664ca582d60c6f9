"""Replicas of one configuration, nginx before them, and the three nodes of Redis that they share."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import redis

from proxy.storage import make_store
from proxy.storage.sealing import Sealer
from tests.benchmarks import install, measure
from tests.e2e.conftest import fitted_policy
from tests.e2e.proxies import Proxy, route, write_config
from tests.proxy.storage.redis_servers import Cluster, three_nodes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from proxy.storage import Store

ROUTE: Final = "scale"
POLICY: Final = "scale"
#: A key without limits; others are named with theirs when the fleet is made.
KEY: Final = "app"
#: The key whose slot all the others share.
REVISION: Final = "{idk}:revision"
#: As deploy/compose.yaml and the chart start it.
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")
SETTLE_S, RESTS_S = 60.0, 2.5


class Fleet:
    """Running processes; ``url`` is the balancer's before all replicas, ``url_of_one`` before the first alone."""

    def __init__(
        self, folder: Path, config: Path, cluster: Cluster, ports: Sequence[int], stack: ExitStack
    ) -> None:
        self.cluster = cluster
        self.folder = folder
        #: The node that all keys of the configuration lie on.
        self.holder = cluster.holding(REVISION)
        self.ports = list(ports)
        self._config = config
        self._stack = stack
        self.replicas = [self._start(port) for port in ports]
        self.balancer, self.url = self._balance("all", ports)
        self.balancer_of_one, self.url_of_one = self._balance("one", ports[:1])

    def _start(self, port: int) -> Proxy:
        return self._stack.enter_context(
            Proxy("--config", self._config, "--port", port, cwd=self._config.parent)
        )

    def _balance(self, name: str, ports: Sequence[int]) -> tuple[int, str]:
        (folder := self.folder / f"nginx-{name}").mkdir()
        port = measure.free_port()
        process = self._stack.enter_context(_balancer(folder, port, ports))
        return process.pid, f"http://127.0.0.1:{port}"

    def client(self) -> redis.Redis:
        """Return a client of the node that holds every key."""
        return self.holder.client()

    def kill(self, place: int) -> None:
        """End a replica as SIGKILL does."""
        self.replicas[place].kill()
        self.replicas[place].wait()

    def start_again(self, place: int) -> None:
        """Start it anew where it was."""
        self.replicas[place] = self._start(self.ports[place])

    def counted(self) -> float:
        """Return the number of judged choices in the metrics of all replicas."""
        return sum(each.metric_sum("idk_requests_total") for each in self.replicas)

    def kept(self) -> int:
        """Return the number of decisions in the store."""
        with self.client() as client:
            return int(client.zcard("{idk}:at"))

    def settle(self) -> None:
        """Wait until the recorders have written everything."""
        last: int | None = None
        until, since = time.monotonic() + SETTLE_S, time.monotonic()
        while time.monotonic() < until and time.monotonic() - since < RESTS_S:
            try:
                now: int | None = self.kept()
            except redis.RedisError:  # it is coming back
                now = None
            if now is None or now != last:
                last, since = now, time.monotonic()
            time.sleep(0.1)

    def cpu_s(self) -> dict[str, float]:
        """CPU so far, by who used it."""
        return {
            "replicas": sum(measure.cpu_s(each.pid) for each in self.replicas),
            "nginx": measure.cpu_s(self.balancer) + measure.cpu_s(self.balancer_of_one),
            "redis": sum(measure.cpu_s(each.pid) for each in self.cluster.nodes),
        }

    async def in_store(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        """Return the result of ``call`` on the store."""
        return await in_store(self.cluster.url, self.folder, call)


async def in_store(url: str, folder: Path, call: Callable[[Store], Awaitable[Any]]) -> Any:
    """Return the result of ``call`` on the store of this URL, with a separate client."""
    store = make_store(url, folder, Sealer(None))
    await store.open()
    try:
        return await call(store)
    finally:
        await store.aclose()


async def push(store: Store, threshold: float) -> int:
    """Put a policy of this threshold in force; its version."""
    policy = {**fitted_policy().to_dict(), "threshold": threshold}
    return (await store.push_policy(POLICY, policy, "bench", 0.0)).version


def configuration(upstream: str, store: str, keys: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return a configuration with one route for every model, which enforces a policy of the store."""
    named = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), **limits}
        for name, limits in {KEY: {}, **keys}.items()
    ]
    return {
        "server": {"store": store},
        "keys": named,
        "upstreams": {"bench": {"base_url": upstream, "max_retries": 0}},
        "routes": [route(ROUTE, "bench", mode="enforce", policy=POLICY) | {"models": ["*"]}],
    }


@contextmanager
def fleet(
    folder: Path, upstream: str, replicas: int, keys: Mapping[str, Mapping[str, int]]
) -> Iterator[Fleet]:
    """Start all servers, wait until they answer, and yield them; the store holds policy 1."""
    with ExitStack() as stack:
        cluster = stack.enter_context(three_nodes(folder / "redis", *DURABLE))
        asyncio.run(in_store(cluster.url, folder, lambda store: push(store, 0.0)))
        (home := folder / "idk").mkdir()
        config = write_config(home, configuration(upstream, cluster.url, keys))
        yield Fleet(folder, config, cluster, [measure.free_port() for _ in range(replicas)], stack)


@contextmanager
def _balancer(folder: Path, port: int, ports: Sequence[int]) -> Iterator[subprocess.Popen[bytes]]:
    """nginx in its own way: a request that has been sent to a replica is not sent again to another."""
    user = "user root;" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    servers = " ".join(f"server 127.0.0.1:{each};" for each in ports)
    (folder / "nginx.conf").write_text(f"""
        {user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;
        events {{ worker_connections 4096; }}
        http {{
          access_log off; {temporary} keepalive_requests 100000000;
          upstream idk {{ {servers} keepalive 128; keepalive_requests 100000000; }}
          server {{
            listen 127.0.0.1:{port};
            location / {{
              proxy_pass http://idk; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_buffer_size 16k; proxy_buffers 8 16k; add_header x-served-by $upstream_addr always;
            }}
          }}
        }}""")
    command = [install.program("nginx", "nginx-light"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        measure.wait_until_open(port)
        yield process
    finally:
        process.terminate()
        process.wait(measure.STOP_S)
