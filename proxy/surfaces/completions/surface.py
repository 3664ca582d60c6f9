"""OpenAI's older completions: ``/v1/completions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from proxy.exceptions import BadRequest
from proxy.server.bodies import decode, encode, encode_fields
from proxy.surfaces.answer_fields import text_of
from proxy.surfaces.chat.wire import Said, as_samples, choice_of, count_usage
from proxy.surfaces.choices import (
    AnswerDecoder,
    ChoicesSurface,
    completion_of,
    loose,
    loose_choices,
    loose_index,
    loose_logprobs,
    loose_reason,
)
from proxy.surfaces.completions import wire
from proxy.surfaces.completions.stream import CompletionsStream
from proxy.surfaces.contract import Ask, Completion, Request
from proxy.surfaces.request_fields import (
    OPENAI_SAMPLING,
    RequestDecoder,
    asks_for_json,
    threshold_of,
    with_route,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.surfaces.contract import EarlyVerdict, Edit, StreamReader

#: The least number of alternatives to ask for. 0 means no logprobs to llama.cpp, and those of the tokens alone to
#: OpenAI's API; 1 means the same everywhere.
_LEAST = 1
_PROMPT: msgspec.json.Decoder[str | list[str] | None] = msgspec.json.Decoder(str | list[str] | None)


class Completions(ChoicesSurface):
    """The surface of completions; it has no state. Each prompt has ``n`` choices, which are gated one by one."""

    name = "completions"
    path = "/completions"
    takes_n = True
    kind = "text_completion"

    def __init__(self) -> None:
        super().__init__()
        self._request = RequestDecoder(wire.CompletionRequest)
        self._answer = AnswerDecoder(wire.TextAnswer)

    def parse(self, body: bytes) -> Request:
        """Read a client's body; raises BadRequest."""
        read, fields = self._request(body)
        return Request(
            fields=fields,
            model=read.model,
            stream=bool(read.stream),
            n=(read.n or 1) * read.prompts,
            logprobs=read.logprobs is not None,
            top_logprobs=read.logprobs or 0,
            json_answer=asks_for_json(read.response_format),
            include_usage=read.stream_options is not None and bool(read.stream_options.include_usage),
            tools=False,
            max_tokens=read.max_tokens or None,
            sampling={name: value for name in OPENAI_SAMPLING if (value := getattr(read, name)) is not None},
            seed=read.seed if isinstance(read.seed, int) else None,
            threshold=threshold_of(read.idk),
            context=tuple(read.idk.context or ()) if read.idk is not None else (),
            verbose=read.idk is not None and read.idk.verbose,
            prompts=read.prompts,
            ungateable="echo: the prompt's own tokens would be scored with the answer" if read.echo else None,
        )

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """Return the client's body with the route's model and parameters, and with the logprobs that gating needs."""
        fields = with_route(request, ask)
        if ask.logprobs:
            asked = request.top_logprobs if request.logprobs else 0
            fields["logprobs"] = Raw(b"%d" % max(ask.top_logprobs, asked, _LEAST))
        if ask.samples:
            as_samples(fields, ask)
        elif ask.usage and request.stream:
            count_usage(fields)
        return encode_fields(fields)

    def edited(self, request: Request, edit: Edit) -> Request:
        """Return the request with its prompt edited as a user's message; raises BadRequest."""
        written = request.fields.get("prompt", Raw(b"null"))
        try:
            prompt = decode(_PROMPT, written)
        except msgspec.ValidationError:
            return request  # a prompt of token ids, which has no text to edit
        texts = [prompt] if isinstance(prompt, str) else prompt or []
        new = [edit("user", None, text) for text in texts]
        if new == texts:
            return request
        if None in new:
            raise BadRequest("prompt: nothing is left of it without its context", param="prompt")
        edited = encode(new[0] if isinstance(prompt, str) else new, len(memoryview(written)))
        return msgspec.structs.replace(request, fields={**request.fields, "prompt": Raw(edited)})

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage, or UpstreamStatus if it is an error."""
        answer, body = self._answer(body)
        if answer is None or not answer.choices or not all(choice.text for choice in answer.choices):
            return _read_loosely(body, ask)
        usage = answer.usage
        return Completion(
            choices=tuple(
                choice_of(
                    Said(choice.text or ""),
                    wire.as_chat(choice.logprobs),
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
        return wire.abstention(index, text)

    def _without_thoughts(self, choice: dict[str, Raw]) -> dict[str, Any]:
        return wire.without_thoughts(choice)

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], EarlyVerdict] | None
    ) -> StreamReader:
        """Return a reader of the upstream's events."""
        return CompletionsStream(request, ask, hold=hold, watch=watch)


def _read_loosely(body: bytes, ask: Ask) -> Completion:
    """Read an answer of which some value has an unexpected type, or is missing."""
    answer = loose(body)
    choices = loose_choices(answer)
    found = []
    for place, choice in enumerate(choices):
        text, unreadable = wire.loose_text(choice)
        logprobs = wire.as_chat(loose_logprobs(choice.get("logprobs"), wire.TEXT_LOGPROBS))
        found.append(
            choice_of(
                Said(text, unreadable=unreadable),
                logprobs,
                ask,
                index=loose_index(choice.get("index"), place),
                finish_reason=loose_reason(choice.get("finish_reason")),
            )
        )
    return completion_of(found, answer.usage, body)
