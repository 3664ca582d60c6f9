"""A lean HTTP/1.1 client: httptools' parser (llhttp) on an asyncio protocol, and nothing that is not needed.

    transport   renders the request, replaces a stale connection once
    pool        dials, keeps the idle connections, and sweeps over all for timeouts
    connection  one connection: a request out, the parser's callbacks in
    response    the answer's buffer, read whole or as it comes

It exists for its price: a general client spends more on a request than all of a gateway's own work.
"""

from proxy.upstreams.lean.transport import LeanTransport

__all__ = ["LeanTransport"]
