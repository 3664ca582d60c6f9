"""A fake upstream: a real HTTP server in OpenAI's chat format that says what a test scripted.

One server serves many tests at once: ``script`` returns a prompt, and a call with that prompt as its last message
(or to that path) gets the scripted replies, one for each call, the last one repeatedly. What was
asked, and whether the client left before its answer was over, is kept of every call::

    with FakeUpstream() as upstream:
        prompt = upstream.script(answer(says("Par", "is", logprob=-0.1)))
        ...                                  # ask a proxy in front of upstream.base_url
        assert upstream.call(prompt).json["logprobs"] is True

It has no logprobs unless it is asked for them, as the vendors.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.fake_formats import FORMATS, framed, text_of
from tests.proxy.upstreams.peer import serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tests.fake_formats import Format
    from tests.proxy.upstreams.peer import Peer

    Reply = Callable[["Call", Peer], Awaitable[None]]

#: No test waits longer for something to happen; nothing here takes a tenth of it.
DEADLINE_S = 10.0
_CHAT = "/v1/chat/completions"
_ENVELOPE = {"id": "chatcmpl-fake", "created": 1_700_000_000, "system_fingerprint": "fp_fake"}


@dataclass(slots=True)
class Call:
    """One request, as the upstream saw it."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    #: Set when the client's connection ended before the answer did.
    left: threading.Event = field(default_factory=threading.Event)
    #: A reply that holds goes on when this is set.
    released: threading.Event = field(default_factory=threading.Event)
    method: str = "POST"

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    def was_left(self) -> bool:
        """Wait for the client to disconnect before the end of the answer; return whether it did so in time."""
        return self.left.wait(DEADLINE_S)


@dataclass(frozen=True, slots=True)
class Said:
    """One choice: its tokens with their logprobs, and what else stands in its message.

    ``logprobs`` is JSON text that stands in place of the true ones where it is given.
    """

    tokens: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    message: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str = "stop"
    logprobs: str | None = None

    @property
    def text(self) -> str:
        """The content of the choice."""
        return "".join(self.tokens)


def says(*tokens: str, logprob: float | Sequence[float] = -0.01, **changes: Any) -> Said:
    """Return a choice of ``tokens``, with one logprob for all or one for each."""
    values = [logprob] * len(tokens) if isinstance(logprob, int | float) else logprob
    return Said(tokens, tuple(values), **changes)


def calls_tool(name: str, arguments: str, *words: str, logprob: float = -0.01) -> Said:
    """Return a choice that calls a tool, with optional words before the call."""
    called = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"tool_calls": [called]} | ({} if words else {"content": None})
    return says(*words, logprob=logprob, message=message, finish_reason="tool_calls")


def answer(*choices: Said, stop_at: int | None = None, then: str = "hold", **extra: Any) -> Reply:
    """Reply with the choices, whole or streamed as the request asks; ``extra`` are further fields of the answer.

    A stream stops after ``stop_at`` events: it is held until the test releases it, or its connection
    is ended (``then="cut"``), or one after the other (``then="hold, cut"``).
    """

    async def reply(call: Call, peer: Peer) -> None:
        request = call.json
        form = FORMATS.get(call.path)
        if not request.get("stream"):
            whole = (
                _json({**form.whole(request, choices), **extra}, choices)
                if form
                else _whole(request, choices, extra)
            )
            await _send_whole(peer, 200, {}, whole)
            return
        await peer.send(_head(200, {"content-type": "text/event-stream"}, chunked=True))
        events = (
            _framed(form, request, choices)
            if form
            else [b"data: " + event for event in _events(request, choices, extra)]
        )
        for place, event in enumerate(events):
            if place == stop_at:
                if "hold" in then:
                    await _released(call)
                if "cut" in then:
                    return
            await peer.send(_chunk(event + b"\n\n"))
        await peer.send(b"0\r\n\r\n")

    return reply


def raw(
    body: bytes, status: int = 200, *, headers: Mapping[str, str] | None = None, missing: int = 0
) -> Reply:
    """Reply with these bytes; ``missing`` further bytes are announced and never sent."""

    async def reply(call: Call, peer: Peer) -> None:
        await _send_whole(peer, status, headers or {}, body, missing=missing)

    return reply


def error(status: int, message: str, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Reply:
    """OpenAI's error object."""
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}
    return raw(json.dumps({"error": body}).encode(), status, headers=headers)


def stream(*pieces: bytes, ended: bool = True) -> Reply:
    """Reply with an event stream of these bytes, which is cut where ``ended`` is false."""

    async def reply(call: Call, peer: Peer) -> None:
        await peer.send(_head(200, {"content-type": "text/event-stream"}, chunked=True))
        for piece in pieces:
            await peer.send(_chunk(piece))
        if ended:
            await peer.send(b"0\r\n\r\n")

    return reply


def held(then: Reply | None = None) -> Reply:
    """Send nothing, not even a head, until the test releases the call or the client disconnects."""

    async def reply(call: Call, peer: Peer) -> None:
        await _released(call)
        if then is not None:
            await then(call, peer)

    return reply


class FakeUpstream:
    """The server, on a separate thread; a context manager.

    ``always`` is what it says to everything, in place of what is laid down for a prompt or a path.
    """

    def __init__(self, always: Reply | None = None) -> None:
        self._always = always
        self._numbers = itertools.count()
        self._replies: dict[str, list[Reply]] = {}
        self._calls: dict[str, list[Call]] = {}
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._up: threading.Event = threading.Event()
        self._down = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.port = 0

    @property
    def base_url(self) -> str:
        """The base URL for a configuration."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    async def _serve(self) -> None:
        async with serving(self._answer) as server:
            self.port = server.port
            self._up.set()
            await self._down.wait()

    def script(self, *replies: Reply, prompt: str | None = None) -> str:
        """Lay down the replies to a new prompt, or to this one."""
        prompt = f"prompt {next(self._numbers)}" if prompt is None else prompt
        self._replies[prompt] = list(replies)
        return prompt

    def serve(self, path: str, *replies: Reply) -> None:
        """Lay down the replies to a path that is not the chat's; without its query."""
        self._replies[path] = list(replies)

    def calls(self, key: str) -> list[Call]:
        """Return the calls so far with a prompt, or to a path."""
        with self._changed:
            return list(self._calls.get(key, ()))

    def call(self, key: str, number: int = 0) -> Call:
        """Wait for a call with a prompt, and return it."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self._calls.get(key, ())) > number, DEADLINE_S)
            assert came, f"the upstream was not asked {key!r} {number + 1} times"
            return self._calls[key][number]

    async def _answer(self, peer: Peer) -> None:
        head, body = await peer.request()
        line, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
        call = Call(line.split(" ")[1], headers, body, method=line.split(" ")[0])
        key = call.path.partition("?")[0]
        if self._always is not None:
            await self._watched(call, peer, self._always)
            return
        if key == _CHAT:
            key = text_of(call.json["messages"][-1]["content"])
        elif key in FORMATS and key not in self._replies:
            key = FORMATS[key].prompt(call.json)
        with self._changed:
            calls = self._calls.setdefault(key, [])
            calls.append(call)
            replies = self._replies.get(key, [error(404, f"nothing is scripted for {key!r}")])
            reply = replies[min(len(calls), len(replies)) - 1]
            self._changed.notify_all()
        await self._watched(call, peer, reply)

    @staticmethod
    async def _watched(call: Call, peer: Peer, reply: Reply) -> None:
        """Serve one call; a connection carries one, so anything after the request can only be its end."""
        leaving = asyncio.create_task(peer.gone())
        replying = asyncio.ensure_future(reply(call, peer))
        try:
            await asyncio.wait({leaving, replying}, return_when=asyncio.FIRST_COMPLETED)
            if not replying.done() or isinstance(replying.exception(), ConnectionError):
                call.left.set()
            else:
                replying.result()
        finally:
            call.released.set()
            leaving.cancel()
            replying.cancel()


async def _released(call: Call) -> None:
    await asyncio.to_thread(call.released.wait, DEADLINE_S)


def _head(status: int, headers: Mapping[str, str], *, chunked: bool = False, length: int = 0) -> bytes:
    framing = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(length)}
    fields = {"content-type": "application/json", **headers, **framing, "connection": "close"}
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _send_whole(
    peer: Peer, status: int, headers: Mapping[str, str], body: bytes, *, missing: int = 0
) -> None:
    await peer.send(_head(status, headers, length=len(body) + missing), body)


def _whole(request: Any, choices: Sequence[Said], extra: Mapping[str, Any]) -> bytes:
    rendered = [
        {
            "index": index,
            "message": {"role": "assistant", "content": said.text, "refusal": None, **said.message},
            "logprobs": _logprobs(request, said, slice(None)),
            "finish_reason": said.finish_reason,
        }
        for index, said in enumerate(choices)
    ]
    envelope = {**_ENVELOPE, "object": "chat.completion", "model": request["model"]}
    return _json({**envelope, "choices": rendered, "usage": _usage(choices), **extra}, choices)


def _events(request: Any, choices: Sequence[Said], extra: Mapping[str, Any]) -> list[bytes]:
    """Return the chunks: the roles, then the tokens of all choices in turn, the ends of the choices, and the usage."""
    envelope = {**_ENVELOPE, "object": "chat.completion.chunk", "model": request["model"], **extra}

    def chunk(index: int, delta: Mapping[str, Any], logprobs: Any, finish_reason: str | None) -> bytes:
        part = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return _json({**envelope, "choices": [part]}, choices)

    events = []
    for index, said in enumerate(choices):
        message = {"content": "", **said.message}
        if "tool_calls" in message:
            message["tool_calls"] = [{"index": n, **tool} for n, tool in enumerate(message["tool_calls"])]
        events.append(chunk(index, {"role": "assistant", **message}, None, None))
    for place in range(max((len(said.tokens) for said in choices), default=0)):
        for index, said in enumerate(choices):
            if place < len(said.tokens):
                logprobs = _logprobs(request, said, slice(place, place + 1))
                # Where the content is null, the tokens are those of a call.
                silent = said.message.get("content", "") is None
                events.append(chunk(index, {} if silent else {"content": said.tokens[place]}, logprobs, None))
    events += [chunk(index, {}, None, said.finish_reason) for index, said in enumerate(choices)]
    if (request.get("stream_options") or {}).get("include_usage"):
        events.append(_json({**envelope, "choices": [], "usage": _usage(choices)}, choices))
    return [*events, b"[DONE]"]


def _framed(form: Format, request: Any, choices: Sequence[Said]) -> list[bytes]:
    """Return the named events of another format."""
    framing = (framed(name, payload) for name, payload in form.events(request, choices))
    return [head + b"data: " + _scripted(text, choices) for head, text in framing]


def _usage(choices: Sequence[Said]) -> dict[str, int]:
    tokens = sum(len(said.tokens) for said in choices)
    return {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}


def _logprobs(request: Any, said: Said, part: slice) -> Any:
    """Return the logprobs of a part of the tokens, as the request asks; a marker where the script gives the text."""
    if not request.get("logprobs"):
        return None
    if said.logprobs is not None:
        return {"scripted": said.logprobs}
    tops = request.get("top_logprobs") or 0
    return {
        "content": [
            {
                "token": token,
                "logprob": value,
                "bytes": list(token.encode()),
                "top_logprobs": _tops(token, value)[:tops],
            }
            for token, value in zip(said.tokens[part], said.values[part], strict=True)
        ],
        "refusal": None,
    }


def _tops(token: str, value: float) -> list[dict[str, Any]]:
    """Return the token and others that share the rest of the probability, each half as likely as the one before."""
    rest = max(-math.expm1(value), 1e-6)
    others = [(f"other{k}", math.log(rest) - k * math.log(2)) for k in range(1, 20)]
    found = [(token, value), *others]
    return [{"token": text, "logprob": logprob, "bytes": list(text.encode())} for text, logprob in found]


def _json(value: Any, choices: Sequence[Said]) -> bytes:
    """``value`` as JSON, scripted logprobs put in as they are, since some are no JSON (NaN, -Infinity)."""
    return _scripted(json.dumps(value), choices)


def _scripted(text: str, choices: Sequence[Said]) -> bytes:
    for said in choices:
        if said.logprobs is not None:
            text = text.replace(json.dumps({"scripted": said.logprobs}), said.logprobs)
    return text.encode()
