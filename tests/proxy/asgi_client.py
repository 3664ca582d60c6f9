"""Asks an ASGI application as a server would, without a socket, and sees everything that it sends."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(slots=True)
class Reply:
    """What was sent; ``ended`` says whether the response was brought to its end."""

    messages: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The status of the response."""
        (start,) = [message for message in self.messages if message["type"] == "http.response.start"]
        return int(start["status"])

    @property
    def headers(self) -> dict[str, str]:
        """By their names."""
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        """The body of the response."""
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def events(self) -> list[Any]:
        """The payloads of an event stream that ended as it should."""
        payloads = [
            line.removeprefix("data: ") for line in self.text.splitlines() if line.startswith("data: ")
        ]
        assert payloads[-1] == "[DONE]"
        return [json.loads(payload) for payload in payloads[:-1]]

    @property
    def ended(self) -> bool:
        """Whether nothing is missing at its end."""
        return not self.messages[-1].get("more_body", False)


async def ask(
    app: Any,
    path: str,
    body: Any = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    pieces: Sequence[bytes] | None = None,
    leaves: asyncio.Event | None = None,
) -> Reply:
    """Send one request; ``body`` is bytes, or a value sent as JSON. The client stays until ``leaves`` is set."""
    given = {"content-type": "application/json"} if not isinstance(body, bytes) else {}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    waiting = list(pieces if pieces is not None else [content])
    reply = Reply()

    async def receive() -> Mapping[str, Any]:
        if waiting:
            piece = waiting.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(waiting)}
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        reply.messages.append(message)

    raw, _, query = path.partition("?")
    lines = {**given, **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "method": method,
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in lines.items()],
    }
    await app(scope, receive, send)
    return reply
