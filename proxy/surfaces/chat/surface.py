"""OpenAI's chat completions: ``/v1/chat/completions``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from proxy.server.bodies import encode_fields
from proxy.surfaces.chat import wire
from proxy.surfaces.chat.edit import edited_messages
from proxy.surfaces.chat.stream import ChatStream
from proxy.surfaces.choices import SAMPLING, ChoicesSurface, asks_for_json, threshold_of, with_route
from proxy.surfaces.contract import Ask, Choice, Completion, Request
from proxy.surfaces.identity import text_of
from proxy.surfaces.reading import Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.surfaces.contract import Edit, StreamReader, Watch

_TRUE = Raw(b"true")


class Chat(ChoicesSurface):
    """The surface; stateless."""

    name = "chat"
    path = "/chat/completions"
    takes_n = True

    def __init__(self) -> None:
        super().__init__()
        self._request = Fields(wire.ChatRequest)
        self._answer = {asked: wire.Decoder(wire.ChatAnswer, kind=kind) for asked, kind in wire.KINDS.items()}

    def parse(self, body: bytes) -> Request:
        """Read a client's body; raises BadRequest."""
        read, fields = self._request(body)
        return Request(
            fields=fields,
            model=read.model,
            stream=bool(read.stream),
            n=read.n or 1,
            logprobs=bool(read.logprobs),
            top_logprobs=read.top_logprobs or 0,
            json_answer=asks_for_json(read.response_format),
            include_usage=read.stream_options is not None and bool(read.stream_options.include_usage),
            tools="tools" in fields or "functions" in fields,
            # Which of the two holds where both stand is the upstream's choice; the greater bounds both.
            max_tokens=max(read.max_completion_tokens or 0, read.max_tokens or 0) or None,
            sampling={name: value for name in SAMPLING if (value := getattr(read, name)) is not None},
            seed=read.seed if isinstance(read.seed, int) else None,
            threshold=threshold_of(read.idk),
            context=tuple(read.idk.context or ()) if read.idk is not None else (),
            verbose=read.idk is not None and read.idk.verbose,
        )

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """The client's body with the route's model and parameters, and with the logprobs that gating needs."""
        fields = with_route(request, ask)
        if ask.logprobs:
            fields["logprobs"] = _TRUE
            top = max(ask.top_logprobs, request.top_logprobs if request.logprobs else 0)
            if top:
                fields["top_logprobs"] = Raw(b"%d" % top)
        if ask.samples:
            wire.as_samples(fields, ask)
        elif ask.usage and request.stream:
            wire.count_usage(fields)
        return encode_fields(fields)

    def edited(self, request: Request, edit: Edit) -> Request:
        """The request with the texts of its messages through ``edit``; raises BadRequest."""
        messages = edited_messages(request.fields["messages"], edit)
        return msgspec.structs.replace(request, fields={**request.fields, "messages": messages})

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage."""
        answer, body = self._answer[ask.alternatives > 0](body)
        usage = answer.usage
        return Completion(
            choices=tuple(_choice(choice, ask) for choice in answer.choices),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            body=body,
            id=text_of(answer.id),
            model=text_of(answer.model),
        )

    def _for_client(self, request: Request, ask: Ask) -> Callable[[bytes], bytes] | None:
        return wire.for_client(request, ask)

    def _abstention(self, index: int, text: str, *, json_answer: bool) -> Mapping[str, object]:
        return wire.abstention(index, text, json_answer=json_answer)

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None
    ) -> StreamReader:
        """A reader of the upstream's events."""
        return ChatStream(request, ask, hold=hold, watch=watch)


def _choice(choice: wire.AnswerChoice[wire.Read], ask: Ask) -> Choice:
    message = choice.message
    calls = message.calls_a_tool
    return Choice(
        index=choice.index,
        evidence=wire.calls_evidence(message.arguments, choice.logprobs)
        if calls and ask.gate_tools
        else wire.evidence(message.content or "", choice.logprobs, alternatives=ask.alternatives),
        finish_reason=choice.finish_reason,
        tool_call=calls,
        refusal=message.declines,
        words=wire.words_evidence(message.content, choice.logprobs, alternatives=ask.alternatives)
        if calls and ask.gate_tools and message.content
        else None,
    )
