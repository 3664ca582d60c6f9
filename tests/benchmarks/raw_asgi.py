"""The least that a Python proxy can do: a plain ASGI callable that forwards a POST with aiohttp.

The floor under idk on the same server and the same client library: no routes, keys, limits, retries,
timeouts, error mapping or watch for the client's leaving. Run by uvicorn; ``UPSTREAM`` is the base URL.
"""

from __future__ import annotations

import os
from typing import Any

import aiohttp

UPSTREAM = os.environ["UPSTREAM"]
_KEPT = (b"content-type", b"content-length")


class Forwarder:
    """One client session for the process, opened when the server starts."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        parts = []
        more = True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        url = UPSTREAM + scope["path"].removeprefix("/v1")
        headers = {"content-type": "application/json"}
        async with self._session.post(url, data=b"".join(parts), headers=headers) as answer:
            kept = [(k.lower(), v) for k, v in answer.raw_headers if k.lower() in _KEPT]
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            if answer.content_length is None:
                async for chunk in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            else:
                await send({"type": "http.response.body", "body": await answer.read()})

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})


app = Forwarder()
