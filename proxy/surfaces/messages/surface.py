"""Anthropic's messages: ``/v1/messages``, at an upstream that speaks them. The format has no logprobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from proxy.exceptions import UNREADABLE, UpstreamCut, UpstreamGarbage
from proxy.server.bodies import encode_fields
from proxy.surfaces import sse
from proxy.surfaces.chat.edit import edited_messages, edited_text
from proxy.surfaces.chat.wire import Override, sampled_at
from proxy.surfaces.choices import threshold_of, with_route
from proxy.surfaces.contract import Ask, Completion, Request
from proxy.surfaces.identity import text_of
from proxy.surfaces.json_bytes import strict_json, with_field
from proxy.surfaces.messages import wire
from proxy.surfaces.reading import Fields, is_text
from proxy.surfaces.translation import named_event
from proxy.surfaces.usage import counted, with_usage
from proxy.surfaces.vendor_errors import stream_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import Edit, StreamReader, Verdict, Watch

_SAMPLING: Final = ("temperature", "top_p")
_EVENT_LIMIT: Final = 1_000_000


class _Asked(Struct):
    model: str
    messages: Annotated[list[Raw], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=0)]
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    output_config: dict[str, Any] | None = None
    idk: Override | None = None

    @property
    def json_answer(self) -> bool:
        """Whether the client will parse the answer."""
        return bool(self.output_config and self.output_config.get("format"))


class Messages:
    """The surface; stateless."""

    name = "messages"
    path = "/messages"
    takes_n = False

    def __init__(self) -> None:
        self._request = Fields(_Asked)

    def parse(self, body: bytes) -> Request:
        """Read a client's body; raises BadRequest."""
        read, fields = self._request(body)
        return Request(
            fields=fields,
            model=read.model,
            stream=bool(read.stream),
            n=1,
            logprobs=False,
            top_logprobs=0,
            json_answer=read.json_answer,
            include_usage=True,
            tools="tools" in fields,
            max_tokens=read.max_tokens,
            sampling={name: value for name in _SAMPLING if (value := getattr(read, name)) is not None},
            threshold=threshold_of(read.idk),
            context=tuple(read.idk.context or ()) if read.idk is not None else (),
            verbose=read.idk is not None and read.idk.verbose,
        )

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """The client's body with the route's model and parameters."""
        fields = with_route(request, ask)
        if ask.samples:
            fields.pop("stream", None)
            sampled_at(fields, ask)
            if ask.max_tokens is not None:
                fields["max_tokens"] = Raw(b"%d" % ask.max_tokens)
        return encode_fields(fields)

    def edited(self, request: Request, edit: Edit) -> Request:
        """The request with its system prompt and its messages' texts through ``edit``; raises BadRequest."""
        fields = dict(request.fields)
        system = fields.get("system")
        if system is not None and is_text(system):
            text = edited_text(system, "system", edit)
            if text is None:
                del fields["system"]
            else:
                fields["system"] = text
        fields["messages"] = edited_messages(fields["messages"], edit)
        return msgspec.structs.replace(request, fields=fields)

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage."""
        message, body = _read(body)
        usage = message.usage
        return Completion(
            choices=(wire.choice_of(message),),
            prompt_tokens=usage.input_tokens if usage else None,
            completion_tokens=usage.output_tokens if usage else None,
            body=body,
            id=message.id,
            model=text_of(message.model),
        )

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """The upstream's bytes with ``idk`` in them, or the message that stands for a withheld one."""
        body = completion.body
        if verdict.withheld:
            message = msgspec.json.decode(body, type=dict[str, Raw])
            body = msgspec.json.encode(
                wire.withheld_message(message, verdict.abstain_text, json_answer=request.json_answer)
            )
        if verdict.report.extra.calls:
            body = with_usage(body, verdict.report.extra)
        return with_field(body, b"idk", msgspec.json.encode(verdict.report))

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None
    ) -> StreamReader:
        """A reader of the upstream's events."""
        return MessagesStream(request, hold=hold)

    def ungated(self, request: Request) -> None:
        """Return None: the client gets the upstream's bytes."""
        return

    def error(self, exc: HttpError) -> bytes:
        """Anthropic's error object."""
        return wire.error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """The event on which Anthropic's SDKs raise."""
        return wire.error_event(exc)


_DECODER = msgspec.json.Decoder(wire.MessageObject)


def _read(body: bytes) -> tuple[wire.MessageObject, bytes]:
    try:
        return _DECODER.decode(body), body
    except msgspec.ValidationError as exc:
        raise UpstreamGarbage(f"the upstream's answer has an unexpected form: {exc}") from exc
    except UNREADABLE:
        body = strict_json(body)
    try:
        return _DECODER.decode(body), body
    except msgspec.ValidationError as exc:
        raise UpstreamGarbage(f"the upstream's answer has an unexpected form: {exc}") from exc


class MessagesStream:
    """Reads one stream. While holding nothing is given back before ``finish``; else only the end waits."""

    #: Without logprobs nothing can be settled before the end.
    settled = False

    def __init__(self, request: Request, *, hold: bool) -> None:
        self._request = request
        self._hold = hold
        self._events = sse.Splitter(_EVENT_LIMIT)
        self._message: dict[str, Any] = {}
        #: Each block's type, and its text in pieces.
        self._blocks: dict[int, tuple[str, list[str]]] = {}
        self._stop_reason: str | None = None
        self._usage: dict[str, Any] = {}
        self._ended = False
        #: Written already: a hundred thousand events as objects would keep the garbage collector busy.
        self._written: list[bytes] = []
        self._last: list[dict[str, Any]] = []

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended yet."""
        return self._events.pending

    def feed(self, data: bytes) -> bytes:
        """Take what came; give back what may go to the client now."""
        for payload in self._events.feed(data):
            if not self._ended:
                self._take(payload)
        if self._hold:
            return b""
        written, self._written = self._written, []
        return b"".join(written)

    def _take(self, payload: bytes) -> None:
        event = _event(payload)
        kind = event["type"]
        if kind == "error":
            raise stream_error(event.get("error"))
        if kind == "message_start":
            self._message = _object(event, "message")
            self._usage = dict(_object(self._message, "usage", absent={}))
        elif kind == "content_block_start":
            self._blocks[event.get("index", 0)] = (str(_object(event, "content_block").get("type")), [])
        elif kind == "content_block_delta":
            self._grow(event.get("index", 0), _object(event, "delta"))
        elif kind == "message_delta":
            self._stop_reason = _object(event, "delta").get("stop_reason") or self._stop_reason
            self._usage |= _object(event, "usage", absent={})
        self._ended = kind == "message_stop"
        if kind in ("message_delta", "message_stop"):
            self._last.append(event)
        else:
            self._written.append(named_event(event))

    def _grow(self, index: int, delta: dict[str, Any]) -> None:
        _, pieces = self._blocks.setdefault(index, ("text", []))
        if delta.get("type") == "text_delta":
            pieces.append(str(delta.get("text", "")))

    def completion(self) -> Completion:
        """All that was read; raises UpstreamCut where the stream ended before its answer did."""
        if not self._ended:
            raise UpstreamCut("the upstream's stream ended before its answer did")
        blocks = [wire.Block(kind, "".join(pieces)) for _, (kind, pieces) in sorted(self._blocks.items())]
        message = wire.MessageObject(blocks, stop_reason=self._stop_reason)
        asked, answered = (self._usage.get(name) for name in ("input_tokens", "output_tokens"))
        return Completion(
            choices=(wire.choice_of(message),),
            prompt_tokens=asked if isinstance(asked, int) else None,
            completion_tokens=answered if isinstance(answered, int) else None,
            id=text_of(self._message.get("id")),
            model=text_of(self._message.get("model")),
        )

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        """The rest of the stream, ``idk`` in its ``message_delta``."""
        written, events = ([], self._withheld(verdict)) if verdict.withheld else (self._written, self._last)
        last = max((n for n, event in enumerate(events) if event["type"] == "message_delta"), default=None)
        if last is None:
            events = [{"type": "message_delta", "delta": {}, "usage": {}}, *events]
            last = 0
        more: dict[str, Any] = {"idk": verdict.report}
        if verdict.report.extra.calls:
            more["usage"] = counted(self._usage, verdict.report.extra)
        told = [event | more if n == last else event for n, event in enumerate(events)]
        return b"".join([*written, *map(named_event, told)])

    def _withheld(self, verdict: Verdict) -> list[dict[str, Any]]:
        message = wire.withheld_message(
            self._message, verdict.abstain_text, json_answer=self._request.json_answer
        )
        start = {**message, "content": [], "stop_reason": None}
        ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        return [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": verdict.abstain_text},
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": ended, "usage": self._usage},
            {"type": "message_stop"},
        ]


def _event(payload: bytes) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(payload)
    except UNREADABLE:
        event = msgspec.json.decode(strict_json(payload))
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise UpstreamGarbage("the upstream's stream has an event without a type")
    return event


def _object(event: dict[str, Any], name: str, absent: dict[str, Any] | None = None) -> dict[str, Any]:
    value = event.get(name, absent)
    if not isinstance(value, dict):
        raise UpstreamGarbage(f"the upstream's stream has an event without its {name}")
    return value
