"""OpenAI's responses: ``/v1/responses``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE, BadRequest, UpstreamGarbage, UpstreamStatus
from proxy.server.bodies import encode_fields
from proxy.server.errors import error_body
from proxy.surfaces.chat.edit import edited_messages, edited_text
from proxy.surfaces.choices import asks_for_json, threshold_of, with_route
from proxy.surfaces.contract import Ask, Completion, Request
from proxy.surfaces.identity import text_of
from proxy.surfaces.json_bytes import strict_json, with_field
from proxy.surfaces.reading import Fields, is_text
from proxy.surfaces.responses import wire
from proxy.surfaces.responses.stream import ResponsesStream
from proxy.surfaces.usage import with_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import Edit, StreamReader, Verdict, Watch

_SAMPLING = ("temperature", "top_p")


class Responses:
    """The surface; stateless. An answer is one choice, its messages together."""

    name = "responses"
    path = "/responses"
    takes_n = False

    def __init__(self) -> None:
        self._request = Fields(wire.ResponsesRequest)

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
            tools=fields.get("tools", Raw(b"null")) not in (Raw(b"null"), Raw(b"[]")),
            max_tokens=read.max_output_tokens or None,
            sampling={name: value for name in _SAMPLING if (value := getattr(read, name)) is not None},
            threshold=threshold_of(read.idk),
            context=tuple(read.idk.context or ()) if read.idk is not None else (),
            verbose=read.idk is not None and read.idk.verbose,
            ungateable=read.ungateable,
        )

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """The client's body with the route's model and parameters, and with the logprobs that gating needs."""
        fields = with_route(request, ask)
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
        """The request with its instructions (as a system message) and its input through ``edit``."""
        fields = dict(request.fields)
        for name, role in (("instructions", "system"), ("input", "user")):
            given = fields.get(name)
            if given is None or given == Raw(b"null"):
                continue
            if is_text(given):
                text = edited_text(given, role, edit)
                fields[name] = Raw(b"null") if text is None else text
            elif name == "input":
                fields[name] = edited_messages(given, edit)
        if fields.get("input") == Raw(b"null") != request.fields.get("input"):
            raise BadRequest("input: nothing of it is left without its context", param="input")
        return msgspec.structs.replace(request, fields=fields)

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage, UpstreamStatus where it says that it failed."""
        response, body = read_response(body)
        return completion_of(response, body, ask)

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """The upstream's object with ``idk`` in it, or the one that stands for a withheld answer."""
        body = completion.body
        cut = wire.for_client(request, ask)
        if verdict.withheld:
            envelope = msgspec.json.decode(body, type=dict[str, Raw])
            body = msgspec.json.encode(
                wire.withheld_response(envelope, verdict.abstain_text, json_answer=request.json_answer)
            )
        elif cut is not None:
            body = msgspec.json.encode(cut(msgspec.json.decode(body)))
        if verdict.report.extra.calls:
            body = with_usage(body, verdict.report.extra)
        return with_field(body, b"idk", msgspec.json.encode(verdict.report))

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None
    ) -> StreamReader:
        """A reader of the upstream's events."""
        return ResponsesStream(request, ask, hold=hold, watch=watch)

    def ungated(self, request: Request) -> None:
        """Return None: the client gets the upstream's bytes."""
        return

    def error(self, exc: HttpError) -> bytes:
        """OpenAI's error object."""
        return error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """The event on which OpenAI's SDKs raise."""
        return wire.response_error_event(exc)


_DECODER = msgspec.json.Decoder(wire.ResponseObject)


def read_response(body: bytes) -> tuple[wire.ResponseObject, bytes]:
    """The object, and the body as JSON (mended where it held NaN or Infinity); raises UpstreamGarbage."""
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


def completion_of(response: wire.ResponseObject, body: bytes, ask: Ask) -> Completion:
    """What gating reads of a whole response; raises UpstreamStatus where it failed."""
    if response.status in ("failed", "cancelled"):
        said = response.error
        raise UpstreamStatus(
            (said and said.message) or f"the upstream's response is {response.status}",
            code=said.code_text if said else None,
        )
    usage = response.usage
    return Completion(
        choices=(wire.choice_of(response, ask),),
        prompt_tokens=usage.input_tokens if usage else None,
        completion_tokens=usage.output_tokens if usage else None,
        body=body,
        id=response.id,
        model=text_of(response.model),
    )
