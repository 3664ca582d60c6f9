"""Anthropic's messages as an event stream: read for the gate, held or passed on, and ended with the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.exceptions import UNREADABLE, UpstreamCut
from proxy.surfaces import sse
from proxy.surfaces.answer_fields import counted, counts
from proxy.surfaces.json_bytes import strict_json
from proxy.surfaces.messages import wire
from proxy.surfaces.vendor_errors import stream_error

if TYPE_CHECKING:
    from proxy.surfaces.contract import Completion, Request, Verdict

_EVENT_LIMIT: Final = 1_000_000
#: The events and deltas that are known to hold no text of the answer but the text that is read.
_KNOWN_EVENTS: Final = (
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
    "message_stop", "ping",
)  # fmt: skip
_KNOWN_DELTAS: Final = (
    "text_delta",
    "input_json_delta",
    "thinking_delta",
    "signature_delta",
    "citations_delta",
)


class MessagesStream:
    """Reads one stream. While it holds, ``feed`` returns nothing; else only the end of the stream is kept back."""

    #: Without logprobs nothing is known before the end.
    settled = False

    def __init__(self, request: Request, *, hold: bool) -> None:
        self._request = request
        self._hold = hold
        self._events = sse.Splitter(_EVENT_LIMIT)
        self._message: dict[str, Any] = {}
        #: The blocks by their index, and the pieces of their texts and of their calls' arguments.
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, list[str]] = {}
        self._arguments: dict[int, list[str]] = {}
        self._stop_reason: Any = None
        self._usage: dict[str, Any] = {}
        self._unreadable: str | None = None
        #: The type of an event that may hold text which is not read.
        self._unknown: str | None = None
        self._ended = False
        #: Encoded events: a hundred thousand of them as objects would keep the garbage collector busy.
        self._written: list[bytes] = []
        self._last: list[dict[str, Any]] = []

    @property
    def pending(self) -> int:
        """Return the number of bytes of the event that is not complete yet."""
        return self._events.pending

    def feed(self, data: bytes) -> bytes:
        """Read ``data`` and return what may be sent to the client now."""
        for payload in self._events.feed(data):
            if not self._ended and payload != sse.DONE:
                self._take(payload)
        if self._hold:
            return b""
        written, self._written = self._written, []
        return b"".join(written)

    def _take(self, payload: bytes) -> None:
        """Read one event."""
        event = _decoded(payload)
        kind = None if event is None else event.get("type")
        if event is None or not isinstance(kind, str):
            if event is not None and event.get("error"):
                raise stream_error(event)
            self._unknown = self._unknown or "an event without a type"
            self._written.append(sse.event(payload))
            return
        if kind == "error":
            raise stream_error(event.get("error"))
        self._read(kind, event)
        self._ended = kind == "message_stop"
        if kind in ("message_delta", "message_stop"):
            self._last.append(event)
        else:
            self._written.append(sse.named_event(event))

    def _read(self, kind: str, event: dict[str, Any]) -> None:
        """Read what an event says of the answer."""
        if kind == "message_start":
            self._message = _object(event.get("message"))
            self._usage = counts(self._message.get("usage"))
            if self._message.get("content"):
                self._unreadable = "the first event holds content"
        elif kind == "content_block_start":
            block = _object(event.get("content_block"))
            index = _index(event)
            self._blocks[index] = block
            if block.get("type") == "text" and block.get("text"):
                self._grow(index, block["text"])
        elif kind == "content_block_delta":
            self._delta(_index(event), _object(event.get("delta")))
        elif kind == "message_delta":
            self._stop_reason = _object(event.get("delta")).get("stop_reason") or self._stop_reason
            self._usage |= counts(event.get("usage"))
        elif kind not in _KNOWN_EVENTS:
            self._unknown = self._unknown or f"an event of the unknown type {kind[:40]!r}"

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        """Read a piece of a block."""
        kind = delta.get("type")
        if kind == "text_delta":
            self._blocks.setdefault(index, {"type": "text"})
            self._grow(index, delta.get("text"))
        elif kind == "input_json_delta" and isinstance(delta.get("partial_json"), str):
            self._arguments.setdefault(index, []).append(delta["partial_json"])
        elif kind not in _KNOWN_DELTAS:
            self._unknown = self._unknown or f"a delta of the unknown type {str(kind)[:40]!r}"

    def _grow(self, index: int, text: Any) -> None:
        """Add a piece of a block's text."""
        if isinstance(text, str):
            self._pieces.setdefault(index, []).append(text)
        elif text is not None:
            self._unreadable = "the stream has a delta that is not text"

    def completion(self) -> Completion:
        """Return the completion that was read; raises UpstreamCut if the stream ended before its answer did."""
        if not self._ended:
            for payload in self._events.rest():
                if not self._ended and payload != sse.DONE:
                    self._take(payload)
        if not self._ended:
            raise UpstreamCut("the upstream's stream ended before its answer did")
        message = {**self._message, "stop_reason": self._stop_reason, "usage": self._usage}
        return wire.completion_of(message, self._content())

    def _content(self) -> wire.Content | None:
        """Return what the blocks say; None if there are none, and nothing that might be one."""
        if not (self._blocks or self._unreadable or self._unknown) and self._message.get("type") != "message":
            return None
        content = wire.read_content(self._all_blocks())
        unreadable = content.unreadable or self._unreadable
        if unreadable is None and not (content.text or content.tool_call) and self._unknown is not None:
            unreadable = f"the stream has no text, but {self._unknown}"
        return content._replace(unreadable=unreadable)

    def _all_blocks(self) -> list[dict[str, Any]]:
        """Return the blocks as in a whole message."""
        blocks = []
        for index, block in sorted(self._blocks.items()):
            whole = dict(block)
            if block.get("type") == "text":
                whole["text"] = "".join(self._pieces.get(index, ()))
            elif index in self._arguments:
                whole["input"] = _arguments("".join(self._arguments[index]))
            blocks.append(whole)
        return blocks

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        """Return the rest of the stream, with ``idk`` in its ``message_delta``."""
        replaced = bool(verdict.withheld or verdict.without_thoughts)
        written, events = ([], self._replaced(verdict)) if replaced else (self._written, self._last)
        last = max((n for n, event in enumerate(events) if event["type"] == "message_delta"), default=None)
        if last is None:
            events = [{"type": "message_delta", "delta": {}, "usage": {}}, *events]
            last = 0
        more: dict[str, Any] = {"idk": verdict.report}
        if verdict.report.extra.calls:
            more["usage"] = counted(self._usage, verdict.report.extra)
        reported = [event | more if n == last else event for n, event in enumerate(events)]
        return b"".join([*written, *map(sse.named_event, reported)])

    def _replaced(self, verdict: Verdict) -> list[dict[str, Any]]:
        """Return the events of an abstention, or of the answer without its thoughts."""
        text, json_answer = verdict.abstain_text, self._request.json_answer and bool(verdict.withheld)
        message = wire.withheld_message(
            {**self._message, "usage": self._usage}, self._request.model, text, json_answer=json_answer
        )
        if not verdict.withheld:
            message["content"] = wire.without_thoughts(self._all_blocks())
            message["stop_reason"] = self._stop_reason
        return wire.events_of(message)


def _decoded(payload: bytes) -> dict[str, Any] | None:
    """Decode an event; None if it is not an object."""
    try:
        event = msgspec.json.decode(payload)
    except UNREADABLE:
        event = msgspec.json.decode(strict_json(payload))
    return event if isinstance(event, dict) else None


def _object(value: Any) -> dict[str, Any]:
    """Return a value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _index(event: dict[str, Any]) -> int:
    """Return the index of an event's block, 0 if it has none."""
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _arguments(text: str) -> Any:
    """Decode the arguments of a call; empty if they are not JSON."""
    try:
        return msgspec.json.decode(text)
    except UNREADABLE:
        return {}
