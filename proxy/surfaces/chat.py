"""OpenAI's chat completions: ``/v1/chat/completions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from proxy.exceptions import BadRequest
from proxy.surfaces import chat_wire as wire
from proxy.surfaces.chat_edit import edited_messages
from proxy.surfaces.chat_stream import ChatStream
from proxy.surfaces.json_bytes import with_field
from proxy.wire import Ask, Choice, Completion, Request, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.exceptions import HttpError
    from proxy.wire import Edit, StreamReader, Watch

_TRUE = Raw(b"true")
_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_JSON_FORMATS = ("json_schema", "json_object")


class Chat:
    """The surface; stateless."""

    name = "chat"
    path = "/chat/completions"

    def __init__(self) -> None:
        self._request = msgspec.json.Decoder(wire.ChatRequest)
        self._fields = msgspec.json.Decoder(dict[str, Raw])
        self._answer = {asked: wire.Decoder(wire.ChatAnswer, alternatives=asked) for asked in (False, True)}

    def parse(self, body: bytes) -> Request:
        """Read a client's body; raises BadRequest."""
        try:
            read = self._request.decode(body)
            fields = self._fields.decode(body)
        except msgspec.ValidationError as exc:
            message, _, place = str(exc).partition(" - at `$")
            param = place.rstrip("`").lstrip(".") or None
            raise BadRequest(f"{param or 'the body'}: {message}", param=param) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise BadRequest(f"the body is not JSON: {exc}") from exc
        return Request(
            fields=fields,
            model=read.model,
            stream=bool(read.stream),
            n=read.n or 1,
            logprobs=bool(read.logprobs),
            top_logprobs=read.top_logprobs or 0,
            json_answer=read.response_format is not None and read.response_format.type in _JSON_FORMATS,
            include_usage=read.stream_options is not None and bool(read.stream_options.include_usage),
            tools="tools" in fields or "functions" in fields,
            # Which of the two holds where both stand is the upstream's choice; the greater bounds both.
            max_tokens=max(read.max_completion_tokens or 0, read.max_tokens or 0) or None,
            sampling={name: value for name in _SAMPLING if (value := getattr(read, name)) is not None},
            threshold=_threshold(read.idk),
            context=tuple(read.idk.context or ()) if read.idk is not None else (),
        )

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """The client's body with the route's model and parameters, and with the logprobs that gating needs."""
        fields = dict(request.fields)
        fields.pop("idk", None)
        if ask.model is not None:
            fields["model"] = Raw(msgspec.json.encode(ask.model))
        for name, value in ask.params.items():
            fields[name] = Raw(msgspec.json.encode(value))
        if ask.logprobs:
            fields["logprobs"] = _TRUE
            top = max(ask.top_logprobs, request.top_logprobs if request.logprobs else 0)
            if top:
                fields["top_logprobs"] = Raw(b"%d" % top)
        return msgspec.json.encode(fields)

    def edited(self, request: Request, edit: Edit) -> Request:
        """The request with the texts of its messages through ``edit``; raises BadRequest."""
        messages = edited_messages(request.fields["messages"], edit)
        return msgspec.structs.replace(request, fields={**request.fields, "messages": messages})

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage."""
        answer, body = self._answer[ask.alternatives > 0](body)
        usage = answer.usage
        return Completion(
            choices=tuple(_choice(choice, alternatives=ask.alternatives) for choice in answer.choices),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            body=body,
            id=wire.id_text(answer.id),
        )

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """The upstream's bytes with ``idk`` in them; rebuilt only where something is withheld."""
        body = completion.body
        cut = wire.for_client(request, ask)
        if cut is not None and len(verdict.withheld) < len(completion.choices):
            body = cut(body)
        if verdict.withheld:
            body = self._withhold(body, request, verdict)
        return with_field(body, b"idk", msgspec.json.encode(verdict.report))

    def _withhold(self, body: bytes, request: Request, verdict: Verdict) -> bytes:
        fields = self._fields.decode(body)
        choices = msgspec.json.decode(fields["choices"], type=list[dict[str, Raw]])
        kept = {name: fields[name] for name in wire.ENVELOPE if name in fields}
        rendered: list[Mapping[str, Any]] = [
            wire.abstention(report.index, verdict.abstain_text, json_answer=request.json_answer)
            if report.index in verdict.withheld
            else choice
            for choice, report in zip(choices, verdict.report.choices, strict=True)
        ]
        return msgspec.json.encode({**kept, "choices": rendered})

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None
    ) -> StreamReader:
        """A reader of the upstream's events."""
        return ChatStream(request, ask, hold=hold, watch=watch)

    def error(self, exc: HttpError) -> bytes:
        """OpenAI's error object."""
        return wire.error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """OpenAI's SDKs raise on an event whose data has an ``error``."""
        return b"data: " + wire.error_body(exc) + b"\n\n"


def _threshold(override: wire.Override | None) -> float | None:
    if override is None:
        return None
    if override.threshold is not None and override.wrong_cost is not None:
        raise BadRequest("idk: give either threshold or wrong_cost", param="idk")
    if override.wrong_cost is not None:
        return override.wrong_cost / (1.0 + override.wrong_cost)
    return override.threshold


def _choice(choice: wire.AnswerChoice[wire.Read], *, alternatives: int) -> Choice:
    message = choice.message
    return Choice(
        index=choice.index,
        evidence=wire.evidence(message.content or "", choice.logprobs, alternatives=alternatives),
        finish_reason=choice.finish_reason,
        tool_call=message.calls_a_tool,
        refusal=message.declines,
    )
