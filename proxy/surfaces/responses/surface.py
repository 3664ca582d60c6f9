"""OpenAI's responses: ``/v1/responses``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE, BadRequest
from proxy.server.bodies import encode_fields
from proxy.server.errors import error_body
from proxy.surfaces.answer_fields import with_usage
from proxy.surfaces.contract import Ask, Completion, Request
from proxy.surfaces.json_bytes import strict_json, with_field
from proxy.surfaces.message_edit import edited_messages, edited_text
from proxy.surfaces.request_fields import (
    RequestDecoder,
    asks_for_json,
    is_text,
    threshold_of,
    with_route,
)
from proxy.surfaces.responses import wire
from proxy.surfaces.responses.stream import ResponsesStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import EarlyVerdict, Edit, StreamReader, Verdict

#: The sampling parameters that the format has.
_SAMPLING: Final = ("temperature", "top_p")
_NULL: Final = Raw(b"null")


class Responses:
    """The surface of responses; it has no state. An answer is one choice, with all of its messages."""

    name = "responses"
    path = "/responses"
    takes_n = False

    def __init__(self) -> None:
        self._request = RequestDecoder(wire.ResponsesRequest)

    def parse(self, body: bytes) -> Request:
        """Read a client's body; raises BadRequest."""
        read, fields = self._request(body)
        previous = fields.get("previous_response_id")
        if previous is not None and bytes(previous).startswith(b'"' + wire.WITHHELD.encode()):
            raise BadRequest(
                "previous_response_id: that answer was withheld and is not kept; send the conversation as input",
                param="previous_response_id",
                code="withheld_response",
            )
        return Request(
            fields=fields,
            model=read.model,
            stream=bool(read.stream),
            n=1,
            logprobs=wire.INCLUDE in (read.include or ()),
            top_logprobs=read.top_logprobs or 0,
            json_answer=read.text is not None and asks_for_json(read.text.format),
            include_usage=True,
            tools=fields.get("tools", _NULL) not in (_NULL, Raw(b"[]")),
            max_tokens=read.max_output_tokens or None,
            sampling={name: value for name in _SAMPLING if (value := getattr(read, name)) is not None},
            threshold=threshold_of(read.idk),
            context=tuple(read.idk.context or ()) if read.idk is not None else (),
            verbose=read.idk is not None and read.idk.verbose,
            ungateable=read.ungateable,
        )

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """Return the client's body with the route's model and parameters, and with the logprobs that gating needs."""
        fields = with_route(request, ask)
        if "stream" not in fields:
            fields["stream"] = Raw(b"false")  # llama.cpp streams where the field is absent
        if ask.logprobs:
            include = msgspec.json.decode(fields.get("include", b"null"), type=list[str] | None) or []
            if wire.INCLUDE not in include:
                fields["include"] = Raw(msgspec.json.encode([*include, wire.INCLUDE]))
            top = max(ask.top_logprobs, request.top_logprobs if request.logprobs else 0)
            if top:
                fields["top_logprobs"] = Raw(b"%d" % top)
        if ask.samples:
            wire.as_sample(fields, ask)
        return encode_fields(fields)

    def edited(self, request: Request, edit: Edit) -> Request:
        """Return the request with its instructions (as a system message) and its input edited."""
        fields = dict(request.fields)
        for name, role in (("instructions", "system"), ("input", "user")):
            given = fields.get(name)
            if given is None or given == _NULL:
                continue
            if is_text(given):
                text = edited_text(given, role, edit)
                fields[name] = _NULL if text is None else text
            elif name == "input":
                fields[name] = edited_messages(given, edit)
        if fields.get("input") == _NULL != request.fields.get("input"):
            raise BadRequest("input: nothing is left of it without its context", param="input")
        return msgspec.structs.replace(request, fields=fields)

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage, or UpstreamStatus if it is an error."""
        response, body = decoded(body)
        wire.check_status(response)
        return wire.completion_of(response, ask, body)

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """Return the upstream's object with ``idk`` added, or the response that replaces a withheld answer."""
        body = completion.body
        cut = wire.for_client(request, ask)
        if verdict.withheld:
            text, json_answer = verdict.abstain_text, request.json_answer
            response, _ = decoded(body)
            body = msgspec.json.encode(
                wire.withheld_response(response, request, text, json_answer=json_answer)
            )
        elif verdict.without_thoughts:
            body = msgspec.json.encode(wire.without_thoughts(decoded(body)[0]))
        elif cut is not None:
            body = msgspec.json.encode(cut(msgspec.json.decode(body)))
        if verdict.report.extra.calls:
            body = with_usage(body, verdict.report.extra)
        return with_field(body, b"idk", msgspec.json.encode(verdict.report))

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], EarlyVerdict] | None
    ) -> StreamReader:
        """Return a reader of the upstream's events."""
        return ResponsesStream(request, ask, hold=hold, watch=watch)

    def ungated(self, request: Request) -> None:
        """Return None: the client gets the upstream's bytes."""
        return

    def error(self, exc: HttpError) -> bytes:
        """Encode OpenAI's error object."""
        return error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """Encode an error as the event on which OpenAI's SDKs raise."""
        return wire.error_event(exc)


def decoded(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the object, empty if the body is another value, and the body without NaN and Infinity."""
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        body = strict_json(body)
        value = msgspec.json.decode(body)
    return (value if isinstance(value, dict) else {}), body
