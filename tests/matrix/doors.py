"""How a client asks on each surface and reads what it gets; a surface without an entry here fails the matrix."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.proxy.asgi_client import Reply

    Fields = Mapping[str, Any]

_SCHEMA: Final = {"type": "object", "properties": {}, "additionalProperties": False}
_FUNCTION: Final = {"name": "weather", "parameters": {"type": "object"}}


@dataclass(frozen=True, slots=True)
class Door:
    """One surface from outside.

    ``shapes`` are the further fields of a request by the shape's name, or why the format has no such shape;
    ``whole`` and ``streamed`` read the texts that a client sees, one a choice, and ``calls`` whether it is
    told to call a tool.
    """

    path: str
    asks: Callable[[str], dict[str, Any]]
    shapes: Mapping[str, dict[str, Any] | str]
    whole: Callable[[Any], list[str]]
    streamed: Callable[[list[Any]], list[str]]
    calls: Callable[[str], bool]
    #: Where the report stands in the events of a stream.
    reported: Callable[[list[Any]], Any]
    #: Whether answers bring logprobs, and can be refusals, in this format.
    logprobs: bool = True
    refusals: bool = True


def events_of(reply: Reply) -> list[Any]:
    """Return the payloads of a stream."""
    lines = [
        line.removeprefix("data: ") for line in reply.body.decode().splitlines() if line.startswith("data: ")
    ]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def _joined(pieces: list[tuple[int, str]]) -> list[str]:
    texts: dict[int, str] = {}
    for index, piece in pieces:
        texts[index] = texts.get(index, "") + piece
    return [texts[index] for index in sorted(texts)]


def _chat_message(message: Fields) -> str:
    return message.get("content") or message.get("refusal") or ""


def _response_texts(response: Fields) -> list[str]:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return ["".join(part.get("text") or part.get("refusal") or "" for part in parts)]


def _message_texts(message: Fields) -> list[str]:
    return ["".join(block.get("text", "") for block in message["content"])]


_CHAT = Door(
    path="/v1/chat/completions",
    asks=lambda prompt: {"messages": [{"role": "user", "content": prompt}]},
    shapes={
        "text": {},
        "JSON": {"response_format": {"type": "json_object"}},
        "tool call": {"tools": [{"type": "function", "function": _FUNCTION}]},
        "two choices": {"n": 2},
        "cut by its length": {"max_tokens": 2},
        "logprobs asked for": {"logprobs": True, "top_logprobs": 1},
    },
    whole=lambda body: [_chat_message(choice["message"]) for choice in body["choices"]],
    streamed=lambda events: _joined(
        [(choice["index"], _chat_message(choice["delta"])) for event in events for choice in event["choices"]]
    ),
    calls=lambda text: '"tool_calls":[' in text,
    reported=lambda events: events[-1]["idk"],
)
_COMPLETIONS = Door(
    path="/v1/completions",
    asks=lambda prompt: {"prompt": prompt},
    shapes={
        "text": {},
        "JSON": "abstentions are text: the format has no field for a refusal",
        "tool call": "the format has no tools",
        "two choices": {"n": 2},
        "cut by its length": {"max_tokens": 2},
        "logprobs asked for": {"logprobs": 1},
    },
    whole=lambda body: [choice["text"] for choice in body["choices"]],
    streamed=lambda events: _joined(
        [(choice["index"], choice["text"]) for event in events for choice in event["choices"]]
    ),
    calls=lambda text: False,
    reported=lambda events: events[-1]["idk"],
    refusals=False,
)
_RESPONSES = Door(
    path="/v1/responses",
    asks=lambda prompt: {"input": prompt},
    shapes={
        "text": {},
        "JSON": {"text": {"format": {"type": "json_schema", "name": "x", "schema": _SCHEMA}}},
        "tool call": {"tools": [{"type": "function", **_FUNCTION}]},
        "two choices": "the format has one answer",
        "cut by its length": {"max_output_tokens": 2},
        "logprobs asked for": {"include": ["message.output_text.logprobs"]},
    },
    whole=_response_texts,
    streamed=lambda events: _response_texts(events[-1]["response"]),
    calls=lambda text: '"type":"function_call"' in text,
    reported=lambda events: events[-1]["response"]["idk"],
)
_MESSAGES = Door(
    path="/v1/messages",
    asks=lambda prompt: {"messages": [{"role": "user", "content": prompt}], "max_tokens": 9},
    shapes={
        "text": {},
        "JSON": {"output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}}},
        "tool call": {"tools": [{"name": "weather", "input_schema": {"type": "object"}}]},
        "two choices": "the format has one answer",
        "cut by its length": {"max_tokens": 2},
        "logprobs asked for": "the format has none",
    },
    whole=_message_texts,
    streamed=lambda events: [
        "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    ],
    calls=lambda text: '"type":"tool_use"' in text,
    reported=lambda events: next(event for event in events if event["type"] == "message_delta")["idk"],
    logprobs=False,
)
#: By the surface's name in the table of surfaces.
DOORS: Final[Mapping[str, Door]] = {
    "chat": _CHAT,
    "completions": _COMPLETIONS,
    "responses": _RESPONSES,
    "messages": _MESSAGES,
}
