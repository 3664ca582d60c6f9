"""OpenAI's chat completions: ``/v1/chat/completions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from proxy.server.bodies import encode_fields
from proxy.surfaces.answer_fields import text_of
from proxy.surfaces.chat import wire
from proxy.surfaces.chat.stream import ChatStream
from proxy.surfaces.choices import (
    CHAT_LOGPROBS,
    AnswerDecoder,
    ChoicesSurface,
    completion_of,
    loose,
    loose_choices,
    loose_index,
    loose_logprobs,
    loose_reason,
)
from proxy.surfaces.contract import Ask, Completion, Request
from proxy.surfaces.message_edit import edited_messages
from proxy.surfaces.request_fields import (
    OPENAI_SAMPLING,
    RequestDecoder,
    asks_for_json,
    threshold_of,
    with_route,
)
from proxy.surfaces.tokens import LOGPROB_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.surfaces.contract import EarlyVerdict, Edit, StreamReader

_TRUE = Raw(b"true")


class Chat(ChoicesSurface):
    """The surface of chat completions; it has no state."""

    name = "chat"
    path = "/chat/completions"
    takes_n = True
    kind = "chat.completion"

    def __init__(self) -> None:
        super().__init__()
        self._request = RequestDecoder(wire.ChatRequest)
        self._answer: dict[bool, AnswerDecoder[wire.ChatAnswer[Any]]] = {
            ranked: AnswerDecoder(wire.ChatAnswer[kind])  # type: ignore[valid-type] # a type in a variable
            for ranked, kind in LOGPROB_TYPES.items()
        }

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
            # Which of the two limits holds if both are given depends on the upstream; the larger one bounds both.
            max_tokens=max(read.max_completion_tokens or 0, read.max_tokens or 0) or None,
            sampling={name: value for name in OPENAI_SAMPLING if (value := getattr(read, name)) is not None},
            seed=read.seed if isinstance(read.seed, int) else None,
            threshold=threshold_of(read.idk),
            context=tuple(read.idk.context or ()) if read.idk is not None else (),
            verbose=read.idk is not None and read.idk.verbose,
        )

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """Return the client's body with the route's model and parameters, and with the logprobs that gating needs."""
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
        """Return the request with the texts of its messages replaced; raises BadRequest."""
        messages = edited_messages(request.fields["messages"], edit)
        return msgspec.structs.replace(request, fields={**request.fields, "messages": messages})

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage, or UpstreamStatus if it is an error."""
        answer, body = self._answer[ask.alternatives > 0](body)
        if answer is None or not all(map(_is_plain, answer.choices)) or not answer.choices:
            return _read_loosely(body, ask)
        usage = answer.usage
        return Completion(
            choices=tuple(
                wire.choice_of(
                    wire.said_by(choice.message),
                    choice.logprobs,
                    ask,
                    index=choice.index,
                    finish_reason=choice.finish_reason or None,
                )
                for choice in answer.choices
            ),
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

    def _without_thoughts(self, choice: dict[str, Raw]) -> dict[str, Any]:
        return wire.without_thoughts(choice)

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], EarlyVerdict] | None
    ) -> StreamReader:
        """Return a reader of the upstream's events."""
        return ChatStream(request, ask, hold=hold, watch=watch)


def _is_plain(choice: wire.AnswerChoice[Any]) -> bool:
    """Return whether a choice has text, a tool call or a refusal where they are expected."""
    message = choice.message
    return bool(message.content or message.tool_calls or message.refusal or message.function_call)


def _read_loosely(body: bytes, ask: Ask) -> Completion:
    """Read an answer of which some value has an unexpected type, or is missing."""
    answer = loose(body)
    choices = loose_choices(answer)
    decoder = CHAT_LOGPROBS[ask.alternatives > 0]
    return completion_of(
        [
            wire.choice_of(
                wire.said_by(*wire.loose_message(choice)),
                loose_logprobs(choice.get("logprobs"), decoder),
                ask,
                index=loose_index(choice.get("index"), place),
                finish_reason=loose_reason(choice.get("finish_reason")),
            )
            for place, choice in enumerate(choices)
        ],
        answer.usage,
        body,
    )
