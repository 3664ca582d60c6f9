"""OpenAI's older completions: ``/v1/completions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec
from msgspec import Raw

from proxy.exceptions import BadRequest
from proxy.server.bodies import decode, encode, encode_fields
from proxy.surfaces.chat import wire as chat
from proxy.surfaces.chat.stream import ChatStream
from proxy.surfaces.choices import SAMPLING, ChoicesSurface, asks_for_json, threshold_of, with_route
from proxy.surfaces.completions import wire
from proxy.surfaces.contract import Ask, Choice, Completion, Request
from proxy.surfaces.identity import text_of
from proxy.surfaces.reading import Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.surfaces.contract import Edit, StreamReader, Watch

#: llama.cpp takes 0 for no logprobs, OpenAI's API for those of the tokens alone: 1 means the same everywhere.
_LEAST = 1
_PROMPT: msgspec.json.Decoder[str | list[str] | None] = msgspec.json.Decoder(str | list[str] | None)


class Completions(ChoicesSurface):
    """The surface; stateless. Each of several prompts has ``n`` choices of its own, gated one by one."""

    name = "completions"
    path = "/completions"
    takes_n = True

    def __init__(self) -> None:
        super().__init__()
        self._request = Fields(wire.CompletionRequest)
        self._answer = wire.decoder()

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
            sampling={name: value for name in SAMPLING if (value := getattr(read, name)) is not None},
            seed=read.seed if isinstance(read.seed, int) else None,
            threshold=threshold_of(read.idk),
            context=tuple(read.idk.context or ()) if read.idk is not None else (),
            verbose=read.idk is not None and read.idk.verbose,
            prompts=read.prompts,
            ungateable="echo: the prompt's own tokens would be scored with the answer" if read.echo else None,
        )

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """The client's body with the route's model and parameters, and with the logprobs that gating needs."""
        fields = with_route(request, ask)
        if ask.logprobs:
            asked = request.top_logprobs if request.logprobs else 0
            fields["logprobs"] = Raw(b"%d" % max(ask.top_logprobs, asked, _LEAST))
        if ask.samples:
            chat.as_samples(fields, ask)
        elif ask.usage and request.stream:
            chat.count_usage(fields)
        return encode_fields(fields)

    def edited(self, request: Request, edit: Edit) -> Request:
        """The request with its prompt through ``edit`` as a user's message; raises BadRequest."""
        written = request.fields.get("prompt", Raw(b"null"))
        try:
            prompt = decode(_PROMPT, written)
        except msgspec.ValidationError:
            return request  # tokens, which no edit can read
        texts = [prompt] if isinstance(prompt, str) else prompt or []
        new = [edit("user", None, text) for text in texts]
        if new == texts:
            return request
        if None in new:
            raise BadRequest("prompt: nothing of it is left without its context", param="prompt")
        edited = encode(new[0] if isinstance(prompt, str) else new, len(memoryview(written)))
        return msgspec.structs.replace(request, fields={**request.fields, "prompt": Raw(edited)})

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage."""
        answer, body = self._answer(body)
        usage = answer.usage
        return Completion(
            choices=tuple(
                Choice(
                    index=choice.index,
                    evidence=chat.evidence(
                        choice.text or "", wire.as_chat(choice.logprobs), alternatives=ask.alternatives
                    ),
                    finish_reason=choice.finish_reason,
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

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None
    ) -> StreamReader:
        """A reader of the upstream's events."""
        return CompletionsStream(request, ask, hold=hold, watch=watch)


class CompletionsStream(ChatStream):
    """The same stream with texts in place of deltas."""

    readers: ClassVar[Mapping[bool, Callable[[bytes], tuple[chat.Chunk[chat.Read], bytes]]]]
    for_client = staticmethod(wire.for_client)

    def _abstention(self, envelope: dict[str, Raw], index: int, text: str) -> list[bytes]:
        return [msgspec.json.encode({**envelope, "choices": [wire.abstention(index, text)]})]


def _chunk(payload: bytes) -> tuple[chat.Chunk[chat.Read], bytes]:
    """An event in the chat's form."""
    read, payload = _READ(payload)
    choices = [
        chat.ChunkChoice(
            index=choice.index,
            delta=chat.Message(content=choice.text),
            finish_reason=choice.finish_reason,
            logprobs=wire.as_chat(choice.logprobs),
        )
        for choice in read.choices
    ]
    return chat.Chunk(choices=choices, usage=read.usage, error=read.error), payload


_READ = wire.decoder()
CompletionsStream.readers = {False: _chunk, True: _chunk}
