"""An HTTP/1.1 client for one base URL: httptools' parser (llhttp) on an asyncio protocol.

    transport   renders a request, and replaces a stale connection once
    pool        opens connections, keeps the idle ones, and closes those that passed their deadline
    connection  sends one request at a time and receives the parser's callbacks
    response    buffers a response's body, which is read whole or piece by piece

The proxy has its own client because general clients spend more CPU time on a request than the rest of the gateway
(``tests/benchmarks/bench_transport.py`` compares it with aiohttp).
"""

from proxy.upstreams.http1.pool import PoolLimits
from proxy.upstreams.http1.transport import Http1Transport, make_transport

__all__ = ["Http1Transport", "PoolLimits", "make_transport"]
