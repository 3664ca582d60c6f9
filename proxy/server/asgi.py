"""Helpers for plain ASGI callables: request bodies, responses, request ids, and clients that disconnect."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from proxy.exceptions import BadRequest, BodyTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
    from types import TracebackType

    from proxy.exceptions import HttpError

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Headers = Sequence[tuple[bytes, bytes]]
    #: Waits until more can be taken.
    Wait = Callable[[], Awaitable[None]]
    #: Takes a piece of a body at once. Returns None, or what to wait for before the next piece.
    Push = Callable[[bytes], Wait | None]
    #: Takes the function to call when the client disconnects, or None to call none.
    Leaving = Callable[[Callable[[], None] | None], None]

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # By default nginx holds a response back until its buffer is full.
    (b"x-accel-buffering", b"no"),
)

#: The scope's extension with the server's ``Push``, which sends a piece of a body without a task.
PUSH = "idk.push"
#: The scope's key for the code of the error that the request was answered with, for the metrics.
ERROR_CODE = "idk.error_code"
#: The scope's extension with the server's ``Leaving``, which reports a disconnect without a task that listens.
LEAVING = "idk.leaving"
#: How long a request runs before a task listens for its client's disconnect.
UNWATCHED_S = 0.01


class ClientGone(Exception):
    """The client disconnected before its request was read."""


class RequestIds:
    """Makes request ids from 128 bits of the system's randomness, so that no client can guess another one's.

    Random bytes are drawn for many ids at once: each draw releases the interpreter to the store's thread.
    """

    _BATCH = 256
    _BYTES = 16

    def __init__(self) -> None:
        self._process = os.getpid()
        self._ids: list[bytes] = []

    def __call__(self) -> bytes:
        """Return a new id."""
        if not self._ids or self._process != os.getpid():  # a forked process must not use its parent's ids
            self._process = os.getpid()
            drawn = os.urandom(self._BATCH * self._BYTES).hex().encode()
            width = 2 * self._BYTES
            self._ids = [b"idk-" + drawn[start : start + width] for start in range(0, len(drawn), width)]
        return self._ids.pop()


#: Returns a new ``x-request-id``.
request_id = RequestIds()


def header(headers: Headers, name: bytes) -> bytes | None:
    """Return the first value of a header, by its name in lower case."""
    for key, value in headers:
        if key == name:
            return value
    return None


async def read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """Return the whole body; raises BodyTooLarge over ``limit`` bytes, before reading if the size is announced."""
    pieces, _ = await read_pieces(receive, headers, limit)
    return b"".join(pieces)


async def read_pieces(receive: Receive, headers: Headers, limit: int) -> tuple[list[bytes], int]:
    """Return the pieces of a body as they came, and their size in bytes; raises BodyTooLarge, as ``read_body``."""
    refuse_encoded(headers)
    announced = header(headers, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:  # no async generator: the event loop tracks each one, which costs more than reading
        piece, more = await _piece(receive)
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return pieces, size


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is over {limit} bytes (server.max_body_bytes)", code="body_too_large")


def refuse_encoded(headers: Headers) -> None:
    """Raise BadRequest for a compressed body: a small one can expand without limit, so none is unpacked."""
    coding = header(headers, b"content-encoding")
    if coding is not None and coding.strip().lower() not in (b"", b"identity"):
        raise BadRequest(
            "content-encoding: compressed bodies are not accepted; send the body uncompressed",
            status=415,
            code="content_encoding",
        )


async def body_pieces(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; raises ClientGone if the client disconnects in the middle."""
    more = True
    while more:
        piece, more = await _piece(receive)
        if piece:
            yield piece


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    """Return the next piece of the body, which may be empty, and whether more may follow."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


def retry_after(exc: HttpError) -> Headers:
    """Return the header ``retry-after``, or none if the error has no time."""
    return [] if exc.retry_after_s is None else [(b"retry-after", b"%d" % max(1, round(exc.retry_after_s)))]


async def respond_error(scope: Scope, send: Send, exc: HttpError, headers: Headers, body: bytes) -> None:
    """Send an error, and note its code for the metrics."""
    scope[ERROR_CODE] = exc.metrics_code
    await respond(send, exc.http_status, [*headers, JSON, *retry_after(exc)], body)


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send one whole response."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})


def pusher(scope: Scope, send: Send) -> Push:
    """Return what sends a response's body: the server's ``Push`` if the scope has one, else ``send``."""
    found: Push | None = _extension(scope, PUSH)

    def through_send(data: bytes) -> Wait:
        return partial(send, {"type": "http.response.body", "body": data, "more_body": True})

    return found or through_send


def without_chunks(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """Return a scope and a ``send`` for a client of HTTP/1.0, which does not know chunked coding (RFC 9112, 6.1).

    The response is held to its end and sent with its length. A response that does not end is not sent.
    """
    extensions = {name: value for name, value in (scope.get("extensions") or {}).items() if name != PUSH}
    started: list[Message] = []
    body: list[bytes] = []

    async def send_whole(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
            return
        body.append(message.get("body", b""))
        if message.get("more_body", False):
            return
        whole = b"".join(body)
        headers = [header for header in started[0]["headers"] if header[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % len(whole)))
        await send({**started[0], "headers": headers})
        await send({"type": "http.response.body", "body": whole, "more_body": False})

    return {**scope, "extensions": extensions}, send_whole


def leaving(scope: Scope) -> Leaving | None:
    """Return the server's ``Leaving`` if the scope has one."""
    found: Leaving | None = _extension(scope, LEAVING)
    return found


def _extension(scope: Scope, name: str) -> Any:
    return (scope.get("extensions") or {}).get(name)


class CancelOnDisconnect:
    """A context manager that cancels its body when the client disconnects; ``gone`` then is True.

    If the server does not report disconnects (``leaving``), a task listens for them. It begins after ``UNWATCHED_S``,
    so that short requests need no task. Other cancellations, such as the server's own, are passed on.
    """

    def __init__(self, receive: Receive, leaving: Leaving | None = None) -> None:
        self._receive = receive
        self._leaving = leaving
        self._start: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.gone = False

    async def __aenter__(self) -> Self:
        self._loop = loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        if self._leaving is None:
            self._start = loop.call_later(UNWATCHED_S, self._begin)
        else:
            self._leaving(self._leave)
        return self

    def _begin(self) -> None:
        self._watcher = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._leaving is not None:
            self._leaving(None)
        if self._start is not None:
            self._start.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if kind is not None and issubclass(kind, asyncio.CancelledError) and self.gone and self._task:
            return self._task.uncancel() == 0
        return False
