"""Limits on the size and speed of an incoming request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.exceptions import HttpError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes of a body that extend its deadline by a second, as Apache's MinRate does: a client that sends faster is
#: never too late.
SLOWEST: Final = 1_000.0
#: Framing bytes allowed for each byte of a body: a chunk of one byte needs five; more are extensions or trailers,
#: which no handler reads.
_MOST_FRAMING: Final = 16


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits on one request, from the ``server`` section of the configuration."""

    head_bytes: int
    headers: int
    receive_s: float


class Refused(HttpError):
    """A request that the server rejects before the application sees it."""

    status = 400
    type = "invalid_request_error"


def malformed() -> Refused:
    """Return the error for a request that is not HTTP, or that two HTTP parsers could read differently."""
    return Refused("the request is not well-formed HTTP/1.1", code="malformed_request")


def late() -> Refused:
    """Return the error for a request that arrives too slowly."""
    return Refused(
        "the request did not arrive in time; send it faster, or raise server.receive_timeout_s",
        status=408,
        code="request_timeout",
    )


class Incoming:
    """The request that arrives on one connection: its size so far, and the deadline for more of it.

    The parser reports the sizes of complete elements only. Of an incomplete element, the size is bounded by the bytes
    that were fed to the parser since it began.
    """

    __slots__ = ("_body", "_bounds", "_fed", "_fresh", "_in_body", "_since", "_until", "coming")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        #: Whether a request has begun and not ended.
        self.coming = False
        self._in_body = False
        self._fresh = False
        self._fed = 0
        self._body = 0
        self._since = math.inf
        self._until = math.inf

    @property
    def in_body(self) -> bool:
        """Whether the head of the request is complete and its body is not."""
        return self.coming and self._in_body

    def begin(self) -> None:
        """Start a request: its first byte arrived."""
        self.coming = self._fresh = True
        self._in_body = False
        self._body = 0
        self._until = math.inf

    def check(self, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Check a complete head; raises Refused where it is too large or uses an unsupported transfer coding."""
        size = len(url)
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                raise Refused("transfer-encoding: only chunked is supported", code="transfer_encoding")
        self._check_head(size, len(headers))

    def _check_head(self, size: int, headers: int) -> None:
        if size > self._bounds.head_bytes:
            raise Refused(
                f"the request's head is over {self._bounds.head_bytes} bytes (server.max_head_bytes)",
                status=431,
                code="head_too_large",
            )
        if headers > self._bounds.headers:
            raise Refused(
                f"the request has more than {self._bounds.headers} headers (server.max_headers)",
                status=431,
                code="too_many_headers",
            )

    def begin_body(self) -> None:
        """Start the body of the request."""
        self._in_body = self._fresh = True

    def body(self, size: int) -> None:
        """Count ``size`` bytes of the body."""
        self._body += size

    def end(self) -> None:
        """End the request: its last byte arrived."""
        self.coming = False

    def more(self, size: int, headers: int, now: float) -> float:
        """Count ``size`` bytes that were fed to the parser and left the request incomplete.

        ``headers`` is the number of headers (or trailers) so far. Returns the time until which more must arrive;
        raises Refused where a limit is passed.
        """
        if self._fresh:  # some of these bytes may belong to the previous request or to the head
            self._fresh, self._fed, self._since = False, 0, now
        else:
            self._fed += size
        if not self._in_body:
            self._check_head(self._fed, headers)
        elif self._fed > self._bounds.head_bytes + _MOST_FRAMING * self._body:
            raise Refused("the body's chunks are almost empty; send larger chunks", code="framing")
        elif headers > self._bounds.headers:
            raise Refused("the request has too many trailers", status=431, code="too_many_headers")
        return min(self._since + self._bounds.receive_s + self._body / SLOWEST, self._until)

    def excuse(self, now: float) -> float:
        """Restart the clock after the proxy itself paused reading, and return the new deadline."""
        self._since = now - self._body / SLOWEST
        return now + self._bounds.receive_s

    def unwanted(self, now: float) -> float:
        """Return the time until which the rest of an already answered request is read and dropped."""
        self._until = now + self._bounds.receive_s
        return self._until
