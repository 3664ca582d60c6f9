"""What the benchmark's upstream answers and what its clients ask, in OpenAI's wire format.

Every contender gets the same bytes from the upstream in the same scenario. ``bench-small`` is a short
answer with its logprobs, 0.9 KB; ``bench-large`` is one of 64 tokens with five alternatives each, 31 KB,
and as a stream 64 chunks 1 ms apart. The other models are for the soak.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TOKENS = 64
TOP = 5
PACE_US = 1000
MEGA_BYTES = 1_000_000
_WORDS = (" The", " answer", " depends", " on", " what", " is", " measured", " here", " and", " why")
SMALL_TOKENS = ("It", " is", " Paris", ".")
SMALL_ANSWER = "".join(SMALL_TOKENS)
LARGE_TOKENS = tuple(_WORDS[i % len(_WORDS)] for i in range(TOKENS))
LARGE_ANSWER = "".join(LARGE_TOKENS)


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes on the wire, in frames that are sent ``pace_us`` apart; ``cut`` drops the connection after them."""

    frames: tuple[bytes, ...]
    pace_us: int = 0
    cut: bool = False

    def write(self, path: Path) -> None:
        """Write the format that upstream.c reads: one line of numbers, then the frames."""
        numbers = [self.pace_us, int(self.cut), len(self.frames), *map(len, self.frames)]
        path.write_bytes(" ".join(map(str, numbers)).encode() + b"\n" + b"".join(self.frames))


def request(model: str, *, stream: bool, asks: bool) -> bytes:
    """Return a client's request body; ``asks`` says whether the client itself requests logprobs."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "What does the answer to this question depend on?"}],
        "temperature": 0,
    }
    if asks:
        body |= {"logprobs": True, "top_logprobs": TOP}
    if stream:
        body["stream"] = True
    return _json(body)


def replies() -> dict[str, Reply]:
    """By model, with ``/stream`` after it where the request asks for one."""
    large = [_entry(token, i, TOP) for i, token in enumerate(LARGE_TOKENS)]
    small = [_entry(token, i, 0) for i, token in enumerate(SMALL_TOKENS)]
    stream = _stream(large)
    error = {
        "error": {"message": "The server is overloaded.", "type": "server_error", "param": None, "code": None}
    }
    events = len(b"".join(stream[1:-1])) // (len(stream) - 2)
    mega = _stream([_entry(_WORDS[i % len(_WORDS)], i, TOP) for i in range(MEGA_BYTES // events)])
    return {
        "bench-small": _whole(_completion(SMALL_ANSWER, small)),
        "bench-large": _whole(_completion(LARGE_ANSWER, large)),
        "bench-large/stream": Reply(stream, PACE_US),
        "bench-error": _whole(error, b"500 Internal Server Error"),
        "bench-error/stream": _whole(error, b"500 Internal Server Error"),
        "bench-cut/stream": Reply(stream[: TOKENS // 2], PACE_US, cut=True),
        "bench-mega/stream": Reply((b"".join(mega),)),
    }


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _entry(text: str, position: int, top: int) -> dict[str, Any]:
    logprob = -round(0.001 + 0.37 * ((position * 7) % 11) / 11, 16)
    others = [_token(f" alt{rank}", round(logprob - 1.1234567890123 * rank, 16)) for rank in range(1, top)]
    return _token(text, logprob) | {"top_logprobs": [_token(text, logprob), *others] if top else []}


def _completion(answer: str, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer, "refusal": None, "annotations": []}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": entries, "refusal": None},
        "finish_reason": "stop",
    }
    usage = {
        "prompt_tokens": 17,
        "completion_tokens": len(entries),
        "total_tokens": 17 + len(entries),
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    return _envelope("chat.completion") | {"choices": [choice], "usage": usage, "service_tier": "default"}


def _envelope(kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": kind,
        "created": 1741569952,
        "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_06737a9306",
    }


def _whole(body: dict[str, Any], status: bytes = b"200 OK") -> Reply:
    data = _json(body)
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (
        status,
        len(data),
    )
    return Reply((head + data,))


def _event(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def _chunk(delta: dict[str, Any], logprobs: object, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    return _event(_json(_envelope("chat.completion.chunk") | {"choices": [choice]}))


def _stream(entries: Sequence[dict[str, Any]]) -> tuple[bytes, ...]:
    # x-accel-buffering is how an upstream tells nginx, as a reverse proxy, to pass a stream on as it comes.
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
        b"x-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    role = _chunk({"role": "assistant", "content": "", "refusal": None}, None)
    chunks = [_chunk({"content": e["token"]}, {"content": [e], "refusal": None}) for e in entries]
    end = _chunk({}, None, "stop") + _event(b"[DONE]") + b"0\r\n\r\n"
    return (head + role + chunks[0], *chunks[1:], end)
