"""What a request costs in each transport: CPU milliseconds of the client, against a server that costs it nothing.

    python -m tests.benchmarks.bench_transport [--requests N] [--rounds R] [--concurrency C]

The server is nginx with fixed bodies, in separate processes. The transports take turns, round by round, so
that what disturbs the machine disturbs both; the medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from proxy.upstreams.transport import Timeouts
from tests.proxy.upstreams.transports import TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.upstreams.transport import Transport

SIZES = {"0.9 KB": 900, "31 KB": 31_000}
HEADERS = (
    (b"content-type", b"application/json"),
    (b"accept-encoding", b"identity"),
    (b"authorization", b"Bearer sk-not-a-key"),
)
QUESTION = json.dumps({"model": "m", "messages": [{"role": "user", "content": "why " * 200}]}).encode()

#: A POST to a file is answered with the file; the headers are as many as a vendor's.
NGINX = """
daemon off; worker_processes 1; pid {root}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; default_type application/json;
  client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; open_file_cache max=10;
  server {{
    listen 127.0.0.1:{port}; root {root}; error_page 405 =200 $uri;
    add_header x-request-id req_0123456789abcdef always; add_header openai-version 2020-10-01 always;
    add_header x-ratelimit-limit-requests 10000 always; add_header x-ratelimit-limit-tokens 200000 always;
    add_header x-ratelimit-remaining-requests 9999 always; add_header openai-processing-ms 500 always;
    add_header x-ratelimit-remaining-tokens 199999 always; add_header cf-cache-status DYNAMIC always;
    add_header strict-transport-security "max-age=31536000" always;
  }}
}}
"""


@contextmanager
def nginx() -> Iterator[int]:
    """Run nginx on a free port, which is yielded, until the end of the block."""
    binary = shutil.which("nginx")
    if binary is None:
        sys.exit("nginx is not installed: apt-get install nginx-light")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)  # the worker reads as another user
        for size in SIZES.values():
            (root / str(size)).write_bytes(b"x" * size)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = root / "nginx.conf"
        config.write_text(NGINX.format(root=root, port=port))
        server = subprocess.Popen([binary, "-c", str(config)])
        try:
            yield port
        finally:
            server.terminate()
            server.wait()


async def load(transport: Transport, size: int, requests: int, concurrency: int) -> float:
    """CPU milliseconds of this process for each of ``requests`` requests."""
    left = requests

    async def one() -> None:
        response = await transport.request("POST", f"/{size}", HEADERS, QUESTION)
        body = await response.read(1_000_000)
        response.close()
        if response.status != 200 or len(body) != size:
            raise RuntimeError(f"the server answered {response.status} with {len(body)} bytes")

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    before = resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent * 1000 / requests


async def reached(port: int) -> None:
    """Wait until the server listens."""
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
    raise RuntimeError("the server does not listen")


async def measure(port: int, requests: int, rounds: int, concurrency: int) -> None:
    """Print a line for each body size."""
    await reached(port)
    base_url = f"http://127.0.0.1:{port}"
    transports = {name: make(base_url, Timeouts()) for name, make in TRANSPORTS.items()}
    print(f"{'body':8}" + "".join(f"{name + ' ms':>14}" for name in transports) + f"{'ratio':>8}")
    for label, size in SIZES.items():
        spent: dict[str, list[float]] = {name: [] for name in transports}
        for turn in range(rounds + 1):
            for name, transport in transports.items():
                cost = await load(transport, size, requests, concurrency)
                if turn:  # the first fills the pools
                    spent[name].append(cost)
        medians = {name: statistics.median(costs) for name, costs in spent.items()}
        figures = "".join(f"{median:14.4f}" for median in medians.values())
        print(f"{label:8}{figures}{medians['aiohttp'] / medians['http1']:8.2f}")
    for transport in transports.values():
        await transport.aclose()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    with nginx() as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(port, options.requests, options.rounds, options.concurrency))


if __name__ == "__main__":
    main()
