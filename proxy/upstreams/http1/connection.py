"""One connection to an upstream: sends a request and receives the response through the parser's callbacks."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.exceptions import UpstreamCut, UpstreamError, UpstreamGarbage, UpstreamTimeout
from proxy.upstreams.heads import MAX_HEAD_BYTES, MAX_HEADERS, check_framing
from proxy.upstreams.http1.response import Http1Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.upstreams.transport import Timeouts

_TOO_LARGE_HEAD: Final = "the upstream's answer has too large a head"


class StaleConnection(UpstreamCut):
    """A pooled connection that the upstream closed before it sent a byte of the response; a retry is safe."""


class ConnectionOwner(Protocol):
    """The part of a connection pool that a connection calls."""

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose last response ended cleanly."""
        ...

    def forget(self, connection: Connection) -> None:
        """Remove a closed connection."""
        ...


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time.

    An error closes the connection; after a clean end it returns to its pool. ``deadline`` (seconds of the event
    loop's clock) is the timeout of the current phase: the pool calls ``expire`` when it has passed. Setting it costs
    an assignment, whereas a timer for each phase would cost an entry in the loop's heap.
    """

    __slots__ = (
        "_bodiless",
        "_busy",
        "_complete",
        "_dead",
        "_drained",
        "_error",
        "_headers",
        "_keep",
        "_parser",
        "_paused",
        "_phase",
        "_pool",
        "_quiet_bytes",
        "_received",
        "_response",
        "_reused",
        "_sent",
        "_timeouts",
        "_transport",
        "_waiter",
        "deadline",
        "loop",
    )
    _transport: asyncio.Transport
    #: The result of the current exchange: the response as soon as its head is complete, or the error.
    _waiter: asyncio.Future[Http1Response | UpstreamError] | None

    def __init__(self, pool: ConnectionOwner, loop: asyncio.AbstractEventLoop, timeouts: Timeouts) -> None:
        self._pool = pool
        self.loop = loop
        self._timeouts = timeouts
        self._parser = HttpResponseParser(self)
        self.deadline = math.inf
        self._dead = False
        self._paused = False
        self._reused = False
        self._busy = False
        self._drained: asyncio.Future[None] | None = None
        self._waiter = None
        self._begin(bodiless=False, sent=True)
        self._busy = False

    def _begin(self, *, bodiless: bool, sent: bool) -> None:
        self._busy = True
        self._bodiless = bodiless  # a response to HEAD has no body
        self._sent = sent  # whether the request has been sent completely
        self._phase = "response"
        self._headers: list[tuple[bytes, bytes]] = []
        self._quiet_bytes = 0  # bytes received since the last body data: head, trailers, chunk extensions
        self._received = False
        self._response: Http1Response | None = None
        self._complete = False
        self._keep = False
        self._error: UpstreamError | None = None

    # Sending the request

    async def exchange(
        self, head: bytes, pieces: AsyncIterator[bytes] | None, *, chunked: bool, bodiless: bool
    ) -> Http1Response:
        """Send ``head`` (with a short body) and ``pieces``, and return the response when its head is complete."""
        self._begin(bodiless=bodiless, sent=pieces is None)
        # When this task wakes, a short response is complete and the connection may already carry another request:
        # from here on, the state of this exchange is in the waiter and the response, not in self.
        waiter: asyncio.Future[Http1Response | UpstreamError] = self.loop.create_future()
        self._waiter = waiter
        self._transport.write(head)
        self.deadline = self.loop.time() + self._timeouts.read_s
        try:
            if pieces is not None:
                await self._upload(pieces, waiter, chunked=chunked)
            result = await waiter
        except BaseException:
            # Cancelled, or the request body failed: the upstream must not take the part it has for the whole body.
            answer = waiter.result() if waiter.done() and not waiter.cancelled() else None
            if isinstance(answer, Http1Response):
                answer.close()
            else:
                self.abort()
            raise
        if isinstance(result, UpstreamError):
            raise result
        return result

    async def _upload(
        self,
        pieces: AsyncIterator[bytes],
        waiter: asyncio.Future[Http1Response | UpstreamError],
        *,
        chunked: bool,
    ) -> None:
        self._phase = "write"
        self.deadline = math.inf  # a slow request body is not a timeout of the upstream
        async for piece in pieces:
            if waiter.done():
                return  # the upstream responded early or closed the connection: stop sending
            if not piece:
                continue
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if self._drained is not None:
                self.deadline = self.loop.time() + self._timeouts.write_s
                await self._drained
                self.deadline = math.inf
        if not waiter.done():
            if chunked:
                self._transport.write(b"0\r\n\r\n")
            self._sent = True
            self._phase = "response"
            self.deadline = self.loop.time() + self._timeouts.read_s

    def pause_writing(self) -> None:
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # Receiving the response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, as create_connection makes

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.abort()  # bytes outside an exchange
            return
        self._received = True
        self._quiet_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._keep = False
            if not self._complete:
                fault = self._error or UpstreamGarbage("the upstream's answer is not HTTP")
                fault.__cause__ = error.__context__ if self._error else error
                self._fail(fault)
                return
        response = self._response
        if self._complete:
            self._finish()
        elif self._quiet_bytes > MAX_HEAD_BYTES:
            self._fail(UpstreamGarbage(_TOO_LARGE_HEAD))
        else:
            if self._sent or response is not None:
                self.deadline = self.loop.time() + self._timeouts.read_s
            if response is not None:
                self._set_result(response)
                response.wake()
                if response.overfull:
                    self._paused = True
                    self._transport.pause_reading()
                    self.deadline = math.inf

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False  # bytes after the response: its end is in doubt, do not reuse the connection

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is None:  # trailers are ignored
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._response is not None:
            return
        headers = self._headers
        status = self._parser.get_status_code()
        if status < 200:  # an interim response; the final one follows
            headers.clear()
            return
        try:
            _check_size(headers, self._quiet_bytes)
            length = check_framing(headers)
        except UpstreamGarbage as error:
            self._error = error
            raise
        self._quiet_bytes = 0
        self._response = Http1Response(self, status, headers, None if self._bodiless else length)
        if self._bodiless:
            # httptools cannot be told that the request was HEAD and waits for a body: do not reuse the connection.
            self._complete = True

    def on_body(self, data: bytes) -> None:
        response = self._response
        if response is not None and not self._complete:
            self._quiet_bytes = 0
            response.feed(data)

    def on_message_complete(self) -> None:
        if self._response is not None and not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    def _set_result(self, result: Http1Response | UpstreamError) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(result)

    def _finish(self) -> None:
        response = self._response
        if response is not None:
            self._set_result(response)
            response.finish()
        self._busy = False
        self._response = None
        if self._keep and self._sent and not self._transport.is_closing():
            self._reused = True
            self._pool.give_back(self)
        else:
            self.abort()

    # Closing

    def eof_received(self) -> None:
        self._ended(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(clean=exc is None)
        self.abort()
        # These objects refer back to this connection: without this, only the garbage collector would free them.
        del self._parser
        self._response = self._waiter = None

    def _ended(self, *, clean: bool) -> None:
        if not self._busy:
            self.abort()
        elif clean and self._response is not None and _ends_with_connection(self._response):
            self._finish()
        elif self._reused and not self._received:
            self._fail(StaleConnection("the upstream closed the connection without an answer"))
        elif self._response is None:
            self._fail(UpstreamCut("the upstream closed the connection without an answer"))
        else:
            self._fail(UpstreamCut("the upstream's answer was cut off"))

    def expire(self) -> None:
        """Fail the current request, or close the idle connection, because its deadline has passed."""
        if not self._busy:
            self.abort()
        elif self._phase == "write" and self._response is None:
            self._fail(UpstreamTimeout("the upstream did not take the request in time"))
        else:
            self._fail(UpstreamTimeout("the upstream did not answer in time"))

    def _fail(self, error: UpstreamError) -> None:
        response = self._response
        self._set_result(error)
        if response is not None:
            response.fail(error)
        self.abort()

    def abort(self) -> None:
        """Close the connection at once; the upstream sees a reset or an end of the stream."""
        if not self._dead:
            self._dead = True
            self._busy = False
            self.deadline = math.inf
            self._pool.forget(self)
            self._transport.abort()
            self.resume_writing()

    def resume_reading(self) -> None:
        """Receive again after a pause, because the reader has taken the buffered data."""
        if self._paused and not self._dead:
            self._paused = False
            self._transport.resume_reading()
            self.deadline = self.loop.time() + self._timeouts.read_s


def _check_size(headers: list[tuple[bytes, bytes]], received: int) -> None:
    # ``received`` may include the start of the body, so the headers are only added up where it is large.
    if len(headers) > MAX_HEADERS or (
        received > MAX_HEAD_BYTES and sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES
    ):
        raise UpstreamGarbage(_TOO_LARGE_HEAD)


def _ends_with_connection(response: Http1Response) -> bool:
    return response.length is None and all(name != b"transfer-encoding" for name, _ in response.headers)
