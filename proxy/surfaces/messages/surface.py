"""Anthropic's messages: ``/v1/messages``, at an upstream that speaks them. The format has no logprobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE
from proxy.server.bodies import encode_fields
from proxy.surfaces.answer_fields import with_usage
from proxy.surfaces.contract import Ask, Completion, Request
from proxy.surfaces.json_bytes import strict_json, with_field
from proxy.surfaces.message_edit import edited_messages, edited_text
from proxy.surfaces.messages import wire
from proxy.surfaces.messages.stream import MessagesStream
from proxy.surfaces.request_fields import RequestDecoder, drop_sampling, is_text, threshold_of, with_route

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import EarlyVerdict, Edit, StreamReader, Verdict

#: The sampling parameters that the format has.
_SAMPLING: Final = ("temperature", "top_p")


class Messages:
    """The surface of messages; it has no state."""

    name = "messages"
    path = "/messages"
    takes_n = False

    def __init__(self) -> None:
        self._request = RequestDecoder(wire.MessagesRequest)

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
        """Return the client's body with the route's model and parameters."""
        fields = with_route(request, ask)
        if ask.samples:
            fields.pop("stream", None)
            drop_sampling(fields, ask)
            if ask.max_tokens is not None:
                fields["max_tokens"] = Raw(b"%d" % ask.max_tokens)
        return encode_fields(fields)

    def edited(self, request: Request, edit: Edit) -> Request:
        """Return the request with its system prompt and the texts of its messages edited; raises BadRequest."""
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
        """Read an upstream's answer; raises UpstreamGarbage, or UpstreamStatus if it is an error."""
        message, body = _decoded(body)
        content = message.get("content")
        if message.get("type") == "message" and content == []:
            return wire.completion_of(message, wire.Content(), body)
        return wire.completion_of(
            message, wire.read_content(content) if isinstance(content, list) and content else None, body
        )

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """Return the upstream's bytes with ``idk`` added, or the message that replaces a withheld one."""
        body = completion.body
        if verdict.withheld:
            message, _ = _decoded(body)
            text, json_answer = verdict.abstain_text, request.json_answer
            body = msgspec.json.encode(
                wire.withheld_message(message, request.model, text, json_answer=json_answer)
            )
        elif verdict.without_thoughts:
            message, _ = _decoded(body)
            body = msgspec.json.encode({**message, "content": wire.without_thoughts(message["content"])})
        if verdict.report.extra.calls:
            body = with_usage(body, verdict.report.extra)
        return with_field(body, b"idk", msgspec.json.encode(verdict.report))

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], EarlyVerdict] | None
    ) -> StreamReader:
        """Return a reader of the upstream's events."""
        return MessagesStream(request, hold=hold)

    def ungated(self, request: Request) -> None:
        """Return None: the client gets the upstream's bytes."""
        return

    def error(self, exc: HttpError) -> bytes:
        """Encode Anthropic's error object."""
        return wire.error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """Encode an error as the event on which Anthropic's SDKs raise."""
        return wire.error_event(exc)


def _decoded(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the object, empty if the body is another value, and the body without NaN and Infinity."""
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        body = strict_json(body)
        value = msgspec.json.decode(body)
    return (value if isinstance(value, dict) else {}), body
