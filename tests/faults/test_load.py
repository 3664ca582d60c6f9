"""Under more load than it can carry it sheds, and a rolling restart behind nginx loses no request."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.e2e.proxies import Proxy, asking, enforced, write_config
from tests.fakes import DEADLINE_S, answer, says
from tests.faults.load import Outcomes, closed, steady
from tests.faults.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes import Call, FakeUpstream
    from tests.proxy.upstreams.peer import Peer

SURE = answer(says("Par", "is", logprob=-0.01))
CAPACITY = 8
#: What an answer takes: so long that the proxy's own work is little beside it.
ANSWER_S = 0.1
ROUNDS = 3


def slow(seconds: float) -> Any:
    """Send the answer after a delay, as models do."""

    async def reply(call: Call, peer: Peer) -> None:
        await asyncio.sleep(seconds)
        await SURE(call, peer)

    return reply


def config_of(upstream: FakeUpstream, **server: Any) -> dict[str, Any]:
    return {
        "server": {"store": "memory://", **server},
        "upstreams": {"fake": {"base_url": upstream.base_url, "max_retries": 0}},
        "routes": [enforced("r")],
    }


def test_three_times_its_capacity_is_shed_and_the_rest_is_served(upstream, tmp_path, record):
    prompt = upstream.script(slow(ANSWER_S))
    config = config_of(upstream, max_in_flight=CAPACITY)
    with Proxy("--config", write_config(tmp_path, config), cwd=tmp_path) as proxy:
        url, body = f"{proxy.base_url}/chat/completions", asking("r", prompt)
        process = Process(proxy.pid)
        asyncio.run(closed(url, body, CAPACITY, 1.0))
        before_mb = process.rss_mb()
        # Whether or not they are answered: clients of the world do not wait for each other.
        rate = 3 * CAPACITY / ANSWER_S
        ratios = []
        for _ in range(ROUNDS):
            peak = asyncio.run(closed(url, body, CAPACITY, 1.5))
            over = asyncio.run(steady(url, body, rate, lambda: True, most=round(1.5 * rate)))
            assert set(over.counts) == {"200", "503"}
            assert int(over.headers["retry-after"]) >= 1
            ratios.append(over.goodput / peak.goodput)
        # Other work on the machine can only take away from the one or the other: the best round says what is.
        assert max(ratios) >= 0.9, ratios
        # What was accepted waited for nothing but its answer, and for its turn on a busy machine.
        assert over.percentile_s(0.99) < 10 * ANSWER_S
        assert process.rss_mb() - before_mb < 30
        after = asyncio.run(closed(url, body, CAPACITY, 1.0))
        assert set(after.counts) == {"200"}
        record.add(
            f"three times its capacity (goodput {max(ratios):.0%} of its peak, p99 "
            f"{over.percentile_s(0.99) / ANSWER_S:.1f} times an answer)",
            "answer or 503",
        )


def test_a_key_that_asks_too_much_takes_nothing_from_another(upstream, tmp_path, record):
    prompt = upstream.script(slow(ANSWER_S))
    noisy, quiet = "noisy", "quiet"
    keys = [{"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in (noisy, quiet)]
    config = config_of(upstream, max_in_flight=CAPACITY) | {"keys": keys}
    with Proxy("--config", write_config(tmp_path, config), cwd=tmp_path) as proxy:
        url, body = f"{proxy.base_url}/chat/completions", asking("r", prompt)
        rate = 3 * CAPACITY / ANSWER_S

        async def both() -> tuple[Outcomes, Outcomes]:
            over = steady(url, body, rate, lambda: True, most=round(2 * rate), key=noisy)
            return await asyncio.gather(over, closed(url, body, 1, 1.5, key=quiet))

        crowd, single = asyncio.run(both())
        assert set(crowd.counts) == {"200", "503"}
        assert set(single.counts) == {"200"}
        assert single.percentile_s(0.99) < 10 * ANSWER_S
        record.add(f"another key asks three times what can be carried ({crowd.counts['503']} shed)", "answer")


@contextmanager
def nginx(folder: Path, *ports: int) -> Iterator[int]:
    """Run a round-robin load balancer in front of ``ports``."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert program is not None, "nginx is not installed: apt-get install nginx"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers = "".join(f"server 127.0.0.1:{each} max_fails=0;" for each in ports)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{ worker_connections 1024; }}"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;"
        f"upstream idk {{ {servers} keepalive 32; }}"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://idk; proxy_http_version 1.1;"
        "proxy_set_header connection ''; proxy_next_upstream error timeout http_503 non_idempotent; } } }"
    )
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        assert Process.settles(lambda: _listens(port))
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_rolling_restart_loses_nothing(upstream, tmp_path, record):
    prompt = upstream.script(slow(0.05))
    path = write_config(tmp_path, config_of(upstream, drain_s=10))
    with ExitStack() as stack:
        replicas = [stack.enter_context(Proxy("--config", path, cwd=tmp_path)) for _ in range(2)]
        ports = [int(each.url.rpartition(":")[2]) for each in replicas]
        port = stack.enter_context(nginx(tmp_path, *ports))
        over = threading.Event()

        def restart() -> None:
            try:
                for number, place in enumerate(ports):
                    replicas[number].stop()
                    # The signal's own status: it ended by itself, and says what it was asked by.
                    assert replicas[number].wait() in (0, -signal.SIGTERM)
                    replicas[number] = stack.enter_context(
                        Proxy("--config", path, "--port", str(place), cwd=tmp_path)
                    )
            finally:
                over.set()

        restarting = threading.Thread(target=restart)
        restarting.start()
        outcomes = asyncio.run(
            steady(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                asking("r", prompt),
                200.0,
                lambda: not over.is_set(),
                most=6_000,
            )
        )
        restarting.join(DEADLINE_S)
        assert over.is_set()
        assert outcomes.counts.total() > 200
        assert set(outcomes.counts) == {"200"}, outcomes.counts
        record.add("both replicas restarted in turn under 200 requests a second", "answer")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_replica_that_ends_under_load(end, upstream, tmp_path, record):
    """A replica that is terminated finishes its requests; a killed one loses only its requests in flight."""
    prompt = upstream.script(slow(0.05))
    path = write_config(tmp_path, config_of(upstream))
    with Proxy("--config", path, cwd=tmp_path) as staying, Proxy("--config", path, cwd=tmp_path) as leaving:
        ports = [int(each.url.rpartition(":")[2]) for each in (staying, leaving)]
        with nginx(tmp_path, *ports) as port:
            ended = threading.Timer(1.0, getattr(leaving, end))
            ended.start()
            outcomes = asyncio.run(
                steady(
                    f"http://127.0.0.1:{port}/v1/chat/completions",
                    asking("r", prompt),
                    100.0,
                    lambda: True,
                    most=300,
                )
            )
            ended.join()
        assert outcomes.counts["200"] + outcomes.counts["502"] == 300, outcomes.counts
        assert outcomes.counts["502"] <= (0 if end == "stop" else CAPACITY)
        assert httpx.get(f"{staying.url}/health/ready").status_code == 200
        record.add(f"one of two replicas told to {end} under load", "answer")
