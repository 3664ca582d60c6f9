"""One connection to an upstream: a request goes out, the parser's callbacks bring its answer in."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.exceptions import UpstreamCut, UpstreamError, UpstreamGarbage, UpstreamTimeout
from proxy.upstreams.heads import MAX_HEAD_BYTES, MAX_HEADERS, check_framing
from proxy.upstreams.lean.response import LeanResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.upstreams.lean.pool import Pool
    from proxy.upstreams.transport import Timeouts

_TOO_LARGE_HEAD: Final = "the upstream's answer has too large a head"


class Stale(UpstreamCut):
    """A pooled connection that its peer closed before a byte of the answer: the request may be sent anew."""


class Connection(asyncio.Protocol):
    """Carries one request at a time; whatever is amiss drops it, and a clean end gives it back.

    ``deadline`` (the loop's clock, seconds) is all there is of a timeout: the pool's sweep calls ``expire`` on
    a connection that has passed it. That costs an assignment a phase, where a timer would cost a heap.
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
    #: Of the exchange that runs; done with its result as soon as the answer's head, or a failure, is there.
    _waiter: asyncio.Future[LeanResponse | UpstreamError] | None

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop, timeouts: Timeouts) -> None:
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
        self._bodiless = bodiless  # an answer to HEAD
        self._sent = sent  # the request is out entirely
        self._phase = "answer"
        self._headers: list[tuple[bytes, bytes]] = []
        self._quiet_bytes = 0  # received since the last that was of use: a head, trailers, chunk extensions
        self._received = False
        self._response: LeanResponse | None = None
        self._complete = False
        self._keep = False
        self._error: UpstreamError | None = None

    # The request.

    async def exchange(
        self, head: bytes, pieces: AsyncIterator[bytes] | None, *, chunked: bool, bodiless: bool
    ) -> LeanResponse:
        """Send ``head``, which holds a short body too, then ``pieces``, and wait for the answer's head."""
        self._begin(bodiless=bodiless, sent=pieces is None)
        # When this task wakes, a short answer is complete and the connection may already carry another
        # request: from here on the exchange's own state is in the waiter and the response, not in self.
        waiter: asyncio.Future[LeanResponse | UpstreamError] = self.loop.create_future()
        self._waiter = waiter
        self._transport.write(head)
        self.deadline = self.loop.time() + self._timeouts.read_s
        try:
            if pieces is not None:
                await self._upload(pieces, waiter, chunked=chunked)
            result = await waiter
        except BaseException:
            # Cancelled, or the caller's body failed: the upstream must not take what it got for the whole.
            answer = waiter.result() if waiter.done() and not waiter.cancelled() else None
            if isinstance(answer, LeanResponse):
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
        waiter: asyncio.Future[LeanResponse | UpstreamError],
        *,
        chunked: bool,
    ) -> None:
        self._phase = "write"
        self.deadline = math.inf  # the caller's own pace is not the upstream's fault
        async for piece in pieces:
            if waiter.done():
                return  # answered early, or lost: nobody reads the rest
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
            self._phase = "answer"
            self.deadline = self.loop.time() + self._timeouts.read_s

    def pause_writing(self) -> None:
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # The answer.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, as create_connection makes

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.abort()  # nothing was asked
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
                self._settle(response)
                response.wake()
                if response.overfull:
                    self._paused = True
                    self._transport.pause_reading()
                    self.deadline = math.inf

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False  # bytes after the answer: from now on nobody knows what belongs to what

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is None:  # else a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._response is not None:
            return
        headers = self._headers
        status = self._parser.get_status_code()
        if status < 200:  # interim; the final one follows
            headers.clear()
            return
        try:
            _check_size(headers, self._quiet_bytes)
            length = check_framing(headers)
        except UpstreamGarbage as error:
            self._error = error
            raise
        self._quiet_bytes = 0
        self._response = LeanResponse(self, status, headers, None if self._bodiless else length)
        if self._bodiless:
            # The parser cannot be told of HEAD and waits for a body: the connection is not kept.
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

    def _settle(self, result: LeanResponse | UpstreamError) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(result)

    def _finish(self) -> None:
        response = self._response
        if response is not None:
            self._settle(response)
            response.finish()
        self._busy = False
        self._response = None
        if self._keep and self._sent and not self._transport.is_closing():
            self._reused = True
            self._pool.give_back(self)
        else:
            self.abort()

    # The end.

    def eof_received(self) -> None:
        self._ended(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(clean=exc is None)
        self.abort()
        # They hold this connection or its methods: cycles, which nobody but the garbage collector would end.
        del self._parser
        self._response = self._waiter = None

    def _ended(self, *, clean: bool) -> None:
        if not self._busy:
            self.abort()
        elif clean and self._response is not None and _ends_with_connection(self._response):
            self._finish()
        elif self._reused and not self._received:
            self._fail(Stale("the upstream closed the connection without an answer"))
        elif self._response is None:
            self._fail(UpstreamCut("the upstream closed the connection without an answer"))
        else:
            self._fail(UpstreamCut("the upstream's answer was cut off"))

    def expire(self) -> None:
        """The deadline has passed."""
        if not self._busy:
            self.abort()
        elif self._phase == "write" and self._response is None:
            self._fail(UpstreamTimeout("the upstream did not take the request in time"))
        else:
            self._fail(UpstreamTimeout("the upstream did not answer in time"))

    def _fail(self, error: UpstreamError) -> None:
        response = self._response
        self._settle(error)
        if response is not None:
            response.fail(error)
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once, whatever it is doing; the peer sees a reset or an end."""
        if not self._dead:
            self._dead = True
            self._busy = False
            self.deadline = math.inf
            self._pool.forget(self)
            self._transport.abort()
            self.resume_writing()

    def resume_reading(self) -> None:
        """The reader has caught up."""
        if self._paused and not self._dead:
            self._paused = False
            self._transport.resume_reading()
            self.deadline = self.loop.time() + self._timeouts.read_s


def _check_size(headers: list[tuple[bytes, bytes]], received: int) -> None:
    # What was received may hold the body's beginning: only where it is much are the headers added up.
    if len(headers) > MAX_HEADERS or (
        received > MAX_HEAD_BYTES and sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES
    ):
        raise UpstreamGarbage(_TOO_LARGE_HEAD)


def _ends_with_connection(response: LeanResponse) -> bool:
    return response.length is None and all(name != b"transfer-encoding" for name, _ in response.headers)
