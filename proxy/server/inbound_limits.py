"""How much of a request may come before it is one, and how slowly: what a connection's client is held to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.exceptions import HttpError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes of a body that win a second each, as of Apache's MinRate: who sends faster than that is never late.
SLOWEST: Final = 1_000.0
#: A chunk of one byte needs five more; beyond it they are extensions, or trailers, that nobody reads.
_MOST_FRAMING: Final = 16


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one request; see ``config.Server``."""

    head_bytes: int
    headers: int
    receive_s: float


class Refused(HttpError):
    """What is wrong with the request itself, before any application has seen it whole."""

    status = 400
    type = "invalid_request_error"


def malformed() -> Refused:
    """It is not HTTP, or not such that every reader of it would see the same requests."""
    return Refused("the request is not well-formed HTTP/1.1", code="malformed_request")


def late() -> Refused:
    """It takes too long."""
    return Refused(
        "the request did not come in time (server.receive_timeout_s)", status=408, code="request_timeout"
    )


class Incoming:
    """The request that comes in on one connection: its size so far, and until when more of it must come.

    The parser tells sizes of what is complete; of what is not, only what was fed to it since is known.
    """

    __slots__ = ("_body", "_bounds", "_fed", "_fresh", "_in_body", "_since", "_until", "coming")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        #: Whether one has begun and not ended.
        self.coming = False
        self._in_body = False
        self._fresh = False
        self._fed = 0
        self._body = 0
        self._since = math.inf
        self._until = math.inf

    @property
    def in_body(self) -> bool:
        """Whether its head has ended, and it has not."""
        return self.coming and self._in_body

    def begin(self) -> None:
        """Its first byte came."""
        self.coming = self._fresh = True
        self._in_body = False
        self._body = 0
        self._until = math.inf

    def check(self, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Its whole head came; raises Refused."""
        size = len(url)
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                raise Refused("the only transfer-encoding here is chunked", code="transfer_encoding")
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
        """Its head has ended."""
        self._in_body = self._fresh = True

    def body(self, size: int) -> None:
        """Some of its body came."""
        self._body += size

    def end(self) -> None:
        """Its last byte came."""
        self.coming = False

    def more(self, size: int, headers: int, now: float) -> float:
        """``size`` bytes were fed and it is not whole; ``headers`` are those of its head, or its trailers, so far.

        Gives the time until which more must come; raises Refused.
        """
        if self._fresh:  # how many of the bytes were another's, or the head's, is not known
            self._fresh, self._fed, self._since = False, 0, now
        else:
            self._fed += size
        if not self._in_body:
            self._check_head(self._fed, headers)
        elif self._fed > self._bounds.head_bytes + _MOST_FRAMING * self._body:
            raise Refused("the body's chunks hold hardly anything but their framing", code="framing")
        elif headers > self._bounds.headers:
            raise Refused("the request has too many trailers", status=431, code="too_many_headers")
        return min(self._since + self._bounds.receive_s + self._body / SLOWEST, self._until)

    def excuse(self, now: float) -> float:
        """It is not the client who is slow: the time from now on."""
        self._since = now - self._body / SLOWEST
        return now + self._bounds.receive_s

    def unwanted(self, now: float) -> float:
        """It was answered already: the time until which the rest of it is dropped."""
        self._until = now + self._bounds.receive_s
        return self._until
