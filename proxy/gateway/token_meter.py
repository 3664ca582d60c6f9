"""Token counts of responses that no gate reads, for the limit ``tokens_per_minute``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.server.asgi import Push, Wait

#: Bytes of English text in a token, on average (https://platform.openai.com/tokenizer).
BYTES_PER_TOKEN: Final = 4
#: An upper bound of the bytes of a usage object at the end of a response.
_TAIL: Final = 8_192
_TOTAL: Final = re.compile(rb'"total_tokens"\s*:\s*(\d{1,12})\b')
#: Anthropic's and the Responses API's names, and OpenAI's.
_PARTS: Final = (
    re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})\b'),
    re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})\b'),
)


def estimated(request_bytes: int, response_bytes: int = 0) -> int:
    """Return the tokens of texts of these sizes, where the upstream did not count them."""
    return (request_bytes + response_bytes) // BYTES_PER_TOKEN


class TokenMeter:
    """Counts the tokens of one response while it is passed through.

    The upstream's own usage counts if it ends the response. Otherwise, and for a response that was cut or left, the
    sizes of request and response give an estimate: an unknown number is never counted as zero.
    """

    def __init__(self, request_bytes: int) -> None:
        self._request_bytes = request_bytes
        self._response_bytes = 0
        self._events = 0
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Take a piece of the response's body."""
        self._response_bytes += len(data)
        self._events += data.count(b"data:")
        self._tail = (self._tail + data)[-_TAIL:]

    def metered(self, push: Push) -> Push:
        """Return a ``Push`` that also counts."""

        def counting(data: bytes) -> Wait | None:
            self.feed(data)
            return push(data)

        return counting

    @property
    def tokens(self) -> int:
        """The tokens of request and response."""
        total = _TOTAL.findall(self._tail)
        if total:
            return int(total[-1])
        parts = [found[-1] for found in (each.findall(self._tail) for each in _PARTS) if found]
        if parts:
            return sum(map(int, parts))
        if self._events:  # each event of a stream holds about one token
            return estimated(self._request_bytes) + self._events
        return estimated(self._request_bytes, self._response_bytes)
