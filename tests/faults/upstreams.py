"""What an upstream can do wrong, one table; each answer says a secret that the gate withholds.

The answer is one of which the model is not sure, so that on a route which enforces none of its words may ever
reach the client, whatever else goes wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.fakes import answer, error, held, raw, says, stream

if TYPE_CHECKING:
    from tests.fakes import Call, Reply
    from tests.proxy.upstreams.peer import Peer

#: The words that must not get out; each by itself, since a part of an answer is a leak too.
SECRET: Final = ("Lyonaise", "Vermeil", "Quorum")
_LOGPROB: Final = -3.0
_SAID: Final = says(*SECRET, logprob=_LOGPROB)
#: Statuses of ours: a wrong gateway, a timeout.
BAD, LATE = 502, 504


@dataclass(frozen=True, slots=True)
class Fault:
    """What the upstream does, and the statuses that a client may see (of a stream that began: 200).

    ``measured``: whether its answer is good, so that enforcing abstains by the score and observing lets it out.
    ``unread``: whether it is JSON without a readable answer, which an observing route passes on.
    """

    reply: Reply
    whole: frozenset[int]
    streamed: frozenset[int]
    measured: bool = False
    unread: bool = False

    def is_passed_on(self, *, streamed: bool, observing: bool) -> bool:
        """Return whether the client gets the response as it came, without a readable answer."""
        return self.unread and observing and not streamed

    def statuses(self, *, streamed: bool, observing: bool) -> frozenset[int]:
        """Return the statuses that the client may see."""
        if self.is_passed_on(streamed=streamed, observing=observing):
            return frozenset({200})
        return self.streamed if streamed else self.whole


def _fault(
    reply: Reply,
    *statuses: int,
    streamed: tuple[int, ...] | None = None,
    measured: bool = False,
    unread: bool = False,
) -> Fault:
    return Fault(reply, frozenset(statuses), frozenset(streamed or statuses), measured, unread)


def _bytes(*pieces: bytes, then: str = "close") -> Reply:
    """Send exactly these bytes; then close or reset the connection, or let it hang."""

    async def reply(call: Call, peer: Peer) -> None:
        await peer.send(*pieces)
        if then == "reset":
            peer.reset()
        elif then == "hang":
            await held()(call, peer)

    return reply


def _whole_body(logprobs: str | None = "null") -> bytes:
    message = {"role": "assistant", "content": "".join(SECRET), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": "LOGPROBS", "finish_reason": "stop"}
    body = json.dumps(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    )
    return body.replace('"LOGPROBS"', logprobs or "null").encode()


def _logprobs(*values: str, tokens: tuple[str, ...] = SECRET) -> Reply:
    content = ", ".join(
        f'{{"token": {json.dumps(token)}, "logprob": {value}, "bytes": null, "top_logprobs": []}}'
        for token, value in zip(tokens, values, strict=True)
    )
    return answer(says(*SECRET, logprobs=f'{{"content": [{content}], "refusal": null}}'))


def _endless(head: bytes, piece: bytes) -> Reply:
    """Send pieces until the client closes the connection."""

    async def reply(call: Call, peer: Peer) -> None:
        await peer.send(head)
        while True:
            await peer.send(piece)

    return reply


def _after_100(reply: Reply) -> Reply:
    async def continued(call: Call, peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await reply(call, peer)

    return continued


_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
_SSE: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_BODY: Final = _whole_body()
_EVENT: Final = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":"Lyonaise"},"logprobs":null,"finish_reason":null}]}\n\n'
)
_DONE: Final = b"data: [DONE]\n\n"

FAULTS: Final[dict[str, Fault]] = {
    "nothing wrong": _fault(answer(_SAID), 200, measured=True),
    "100 Continue and 103 before the answer": _fault(_after_100(answer(_SAID)), 200, measured=True),
    "resets before the head": _fault(_bytes(then="reset"), BAD),
    "closes before the head": _fault(_bytes(), BAD),
    "stalls before the head": _fault(held(), LATE),
    "stalls in the head": _fault(_bytes(b"HTTP/1.1 200 OK\r\ncontent-", then="hang"), LATE),
    "stalls in the body": _fault(
        _bytes(_OK + b"content-length: 9999\r\n\r\n" + _BODY[:60], then="hang"),
        LATE,
        streamed=(200, BAD, LATE),
    ),
    "stalls in the stream": _fault(
        answer(_SAID, stop_at=2, then="hold"), 200, streamed=(200, LATE), measured=False
    ),
    "resets in the body": _fault(
        _bytes(_OK + b"content-length: 9999\r\n\r\n" + _BODY[:60], then="reset"), BAD, streamed=(200, BAD)
    ),
    "cuts the body": _fault(raw(_BODY, missing=10), BAD, streamed=(200, BAD)),
    "cuts the stream": _fault(answer(_SAID, stop_at=2, then="cut"), 200, streamed=(200, BAD)),
    "is not HTTP": _fault(_bytes(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20), BAD),
    "truncates its JSON": _fault(raw(_BODY[:-25]), BAD, streamed=(200, BAD)),
    "answers with a page": _fault(
        raw(b"<html>Lyonaise</html>", headers={"content-type": "text/html"}), BAD, streamed=(200, BAD)
    ),
    "answers a number": _fault(raw(b"42"), BAD, streamed=(200, BAD), unread=True),
    "answers nothing": _fault(raw(b""), BAD, streamed=(200, BAD)),
    "answers no choices": _fault(raw(b'{"choices": null}'), BAD, streamed=(200, BAD), unread=True),
    "redirects": _fault(raw(b"", 302, headers={"location": "http://127.0.0.1:9/"}), BAD),
    "fails with a page": _fault(
        raw(b"<h1>Bad gateway</h1>", 502, headers={"content-type": "text/html"}), BAD
    ),
    "is overloaded": _fault(error(503, "overloaded"), 503),
    "limits the rate": _fault(error(429, "slow down", headers={"retry-after": "7"}), 429),
    "sends without end": _fault(_endless(_OK + b"\r\n", b"x" * 65_536), BAD, streamed=(200, BAD)),
    "streams one event without end": _fault(
        _endless(_SSE, b"10000\r\n" + b"x" * 65_536 + b"\r\n"), BAD, streamed=(200, BAD)
    ),
    "lies about a chunk's size": _fault(
        _bytes(_OK + b"transfer-encoding: chunked\r\n\r\nFFFF\r\n" + _BODY + b"\r\n0\r\n\r\n"),
        BAD,
        streamed=(200, BAD),
    ),
    "gives no chunk size": _fault(
        _bytes(_OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + _BODY + b"\r\n0\r\n\r\n"),
        BAD,
        streamed=(200, BAD),
    ),
    "gives two lengths": _fault(
        _bytes(_OK + b"content-length: 5\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY), BAD
    ),
    "ends twice": _fault(
        stream(_EVENT, _EVENT.replace(b"null}]}", b'"stop"}]}'), _DONE, _DONE, _EVENT), BAD, streamed=(200,)
    ),
    "sends an error in its stream": _fault(
        stream(_EVENT, b'data: {"error":{"message":"failed"}}\n\n'), BAD, streamed=(200, BAD)
    ),
    "sends broken events": _fault(stream(b"data: {\n\n" * 3), BAD, streamed=(200, BAD)),
    "gives more choices than asked for": _fault(answer(_SAID, _SAID), 200, BAD, streamed=(200, BAD)),
    "gives no logprobs": _fault(raw(_BODY), 200, streamed=(200, BAD)),
    "gives logprobs of null": _fault(_logprobs("null", "null", "null"), 200),
    "gives logprobs of NaN": _fault(_logprobs("NaN", "NaN", "NaN"), 200),
    "gives logprobs of -Infinity": _fault(_logprobs("-Infinity", "-Infinity", "-0.1"), 200),
    "gives positive logprobs": _fault(_logprobs("0.5", "3", "99"), 200),
    "gives the sentinel -9999": _fault(_logprobs("-9999", "-9999.0", "-0.1"), 200),
    "gives logprobs of other tokens": _fault(
        _logprobs("-0.01", "-0.01", "-0.01", tokens=("Par", "is", "!")), 200
    ),
    "gives logprobs of fewer tokens": _fault(_logprobs("-0.01", tokens=("Lyonaise",)), 200),
    "gives logprobs of text": _fault(answer(says(*SECRET, logprobs='"-0.1"')), 200),
}
