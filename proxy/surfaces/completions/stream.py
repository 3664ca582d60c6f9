"""Completions as an event stream: a chat's stream with texts in place of deltas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from proxy.surfaces.answer_fields import value_of
from proxy.surfaces.chat.stream import ALL_READ, ChatStream, ChunkReader
from proxy.surfaces.chat.wire import Chunk, ChunkChoice, Message
from proxy.surfaces.choices import (
    AnswerDecoder,
    loose,
    loose_choices,
    loose_index,
    loose_logprobs,
    loose_reason,
)
from proxy.surfaces.completions import wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

_DECODER: Final = AnswerDecoder(wire.TextAnswer)


def _read(payload: bytes) -> tuple[Chunk[Any], bytes, Mapping[int, str]]:
    """Read one event as a chunk of a chat; see ``ChunkReader``."""
    chunk, payload = _DECODER(payload)
    if chunk is None:
        read, unreadable = _read_loosely(payload)
        return read, payload, unreadable
    choices = [
        ChunkChoice(
            choice.index, Message(content=choice.text), choice.finish_reason, wire.as_chat(choice.logprobs)
        )
        for choice in chunk.choices
    ]
    return Chunk(choices, chunk.usage, chunk.error, chunk.object), payload, ALL_READ


def _read_loosely(payload: bytes) -> tuple[Chunk[Any], Mapping[int, str]]:
    """Read a chunk of which some value has an unexpected type."""
    chunk = loose(payload)
    unreadable: dict[int, str] = {}
    choices: list[ChunkChoice[Any]] = []
    for choice in loose_choices(chunk):
        index = loose_index(choice.get("index"), 0)
        text, why = wire.loose_text(choice)
        if why is not None:
            unreadable[index] = why
        logprobs = wire.as_chat(loose_logprobs(choice.get("logprobs"), wire.TEXT_LOGPROBS))
        choices.append(
            ChunkChoice(index, Message(content=text), loose_reason(choice.get("finish_reason")), logprobs)
        )
    read = Chunk(choices, value_of(chunk.usage), value_of(chunk.error), value_of(chunk.object))
    return read, unreadable


class CompletionsStream(ChatStream):
    """Reads one stream of completions."""

    readers: ClassVar[Mapping[bool, ChunkReader]] = {False: _read, True: _read}
    for_client = staticmethod(wire.for_client)
    kind: ClassVar[str] = "text_completion"

    def _unread(self, choice: Mapping[str, Raw]) -> str | None:
        return wire.loose_text(choice)[1]

    def _rebuilt(self, shared: Mapping[str, Any], index: int) -> list[bytes]:
        choice = {
            "index": index,
            "text": self._visible(index),
            "logprobs": None,
            "finish_reason": self._reason(index),
        }
        return [msgspec.json.encode({**shared, "choices": [choice]})]

    def _abstention(self, shared: Mapping[str, Any], index: int, text: str) -> list[bytes]:
        return [msgspec.json.encode({**shared, "choices": [wire.abstention(index, text)]})]
