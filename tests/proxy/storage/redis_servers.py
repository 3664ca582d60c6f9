"""Real Redis servers on spare ports: one alone, one over TLS, one behind a Sentinel, a Cluster of three."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
import trustme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_S = 20.0
_SLOTS = 16_384
_SHARE = _SLOTS // 3 + 1


def executable() -> str:
    """``redis-server``; a store that is not tested is not to be shipped, so its absence is a failure."""
    found = shutil.which("redis-server")
    assert found, "redis-server is not installed: apt-get install redis-server (make test does it as root)"
    return found


def spare_ports(number: int) -> list[int]:
    """Return ports that no server listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(true: Callable[[], Any], what: str) -> None:
    """Wait until a condition is true, ignoring connection errors."""
    end = time.monotonic() + START_S
    while True:
        try:
            if true():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < end, what
        time.sleep(0.01)


class Server:
    """One process; a context manager. ``kill`` ends it as SIGKILL does."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, sentinel: bool = False) -> None:
        self.port = port or spare_ports(1)[0]
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        listens = () if "--tls-port" in options else ("--port", str(self.port))
        self._command = [executable()]
        if sentinel:
            (folder / "sentinel.conf").write_text("")
            self._command += [str(folder / "sentinel.conf"), "--sentinel"]
        self._command += [*listens, "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]

    def start(self) -> None:
        """Start it, again too."""
        self._process = subprocess.Popen(
            self._command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(START_S)

    @property
    def pid(self) -> int:
        """The id of the server process."""
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        self._process.send_signal(number)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def client(self, **given: Any) -> redis.Redis:
        """Return a client of the server."""
        return redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=5, **given)

    def answers(self, **given: Any) -> bool:
        """Return whether the server responds."""
        with self.client(**given) as client:
            return bool(client.ping())


@contextmanager
def alone(folder: Path, *options: str) -> Iterator[Server]:
    """Run one server."""
    with Server(folder, "--appendonly", "yes", *options) as server:
        wait_for(server.answers, "redis-server does not start")
        yield server


@contextmanager
def over_tls(folder: Path) -> Iterator[str]:
    """Run one server that accepts only TLS; yield its URL."""
    authority = trustme.CA()
    folder.mkdir(parents=True, exist_ok=True)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    (port,) = spare_ports(1)
    files = {name: str(folder / f"{name}.pem") for name in ("ca", "server")}
    options = (
        "--port", "0", "--tls-port", str(port), "--tls-cert-file", files["server"], "--tls-key-file",
        files["server"], "--tls-ca-cert-file", files["ca"], "--tls-auth-clients", "no",
    )  # fmt: skip
    with Server(folder, *options, port=port) as server:
        wait_for(lambda: server.answers(ssl=True, ssl_ca_certs=files["ca"]), "redis-server has no TLS")
        yield f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={files['ca']}"


@contextmanager
def behind_sentinel(folder: Path) -> Iterator[str]:
    """Run a server and a Sentinel that monitors it; yield their URL."""
    with alone(folder / "master") as master, Server(folder / "sentinel", sentinel=True) as sentinel:
        wait_for(sentinel.answers, "the Sentinel does not start")
        with sentinel.client() as client:
            client.execute_command("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", str(master.port), "1")
        yield f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster"


class Cluster(NamedTuple):
    """Three nodes that share the slots, and the URL that names them."""

    url: str
    nodes: tuple[Server, ...]

    def holding(self, key: str) -> Server:
        """Return the node that stores a key."""
        with self.nodes[0].client() as client:
            return self.nodes[int(client.cluster("KEYSLOT", key)) // _SHARE]


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a Cluster of three nodes; yield its URL."""
    with three_nodes(folder) as made:
        yield made.url


@contextmanager
def three_nodes(folder: Path, *options: str) -> Iterator[Cluster]:
    """Three nodes that share the slots, each with these options."""
    ports = spare_ports(6)
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                Server(
                    folder / f"{port}", "--cluster-enabled", "yes", "--cluster-port", str(bus), *options,
                    port=port,
                )
            )
            for port, bus in zip(ports[:3], ports[3:], strict=True)
        ]  # fmt: skip
        for node in nodes:
            wait_for(node.answers, "a node does not start")
        clients = [stack.enter_context(node.client()) for node in nodes]
        for place, client in enumerate(clients):
            last = min((place + 1) * _SHARE, _SLOTS) - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", place * _SHARE, last)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
        for place in (1, 2):
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", ports[place], ports[3 + place])
        for client in clients:
            wait_for(partial(_joined, client), "the Cluster does not come together")
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports[:3])
        yield Cluster(url, tuple(nodes))


def _joined(client: redis.Redis) -> bool:
    state = client.cluster("INFO")
    return bool(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "3")
