"""The shapes of answers that an upstream may send, each with the marker word as its answer.

The tables hold the native answers of other APIs, and answers of the right API whose text is in an unusual place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARKER: Final = "MARKERWORD"
SURFACES: Final[Mapping[str, str]] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One body of an upstream, or one event of its stream, and the surfaces that can read its whole text."""

    name: str
    body: Any
    readable: tuple[str, ...] = ()


def request(surface: str, prompt: str, **fields: Any) -> dict[str, Any]:
    """Return a request for one surface."""
    if surface == "completions":
        return {"model": "m", "prompt": prompt, **fields}
    if surface == "responses":
        return {"model": "m", "input": prompt, **fields}
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], "max_tokens": 9, **fields}


#: Native answers of other APIs, and values that are no answer.
FOREIGN: Final = (
    Shape("llama.cpp completion", {"content": MARKER, "stop": True, "tokens": []}),
    Shape("llama.cpp list", [{"content": MARKER}]),
    Shape("ollama generate", {"model": "m", "response": MARKER, "done": True}),
    Shape("ollama chat", {"model": "m", "message": {"role": "assistant", "content": MARKER}, "done": True}),
    Shape("tgi generate", {"generated_text": MARKER}),
    Shape("tgi list", [{"generated_text": MARKER}]),
    Shape("gemini", {"candidates": [{"content": {"parts": [{"text": MARKER}], "role": "model"}}]}),
    Shape("cohere", {"text": MARKER, "generation_id": "1"}),
    Shape("bedrock titan", {"results": [{"outputText": MARKER}]}),
    Shape("bedrock converse", {"output": {"message": {"content": [{"text": MARKER}]}}}),
    Shape("vllm pooling", {"object": "list", "data": [{"text": MARKER}]}),
    Shape(
        "anthropic completion", {"type": "completion", "completion": MARKER, "stop_reason": "stop_sequence"}
    ),
    Shape("replicate", {"output": [MARKER], "status": "succeeded"}),
    Shape("no choices", {"id": "x", "text": MARKER}),
    Shape("empty choices", {"id": "x", "choices": [], "text": MARKER}),
    Shape("null choices", {"choices": None, "content": MARKER}),
    Shape("choices object", {"choices": {"0": {"message": {"content": MARKER}}}}),
    Shape("choices text", {"choices": MARKER}),
    Shape("empty output", {"id": "x", "output": [], "output_text": MARKER}),
    Shape("empty content", {"type": "message", "content": [], "text": MARKER}),
    Shape("a string", MARKER),
    Shape("a list", [MARKER]),
    Shape("a number beside", {"answer": MARKER, "n": 1}),
)


def _message(**fields: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "message": fields, "delta": fields, "finish_reason": "stop"}]}


def _choice(**fields: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "finish_reason": "stop", **fields}]}


#: Chat completions and completions with their text in unusual places.
CHOICES: Final = (
    Shape("plain", _message(role="assistant", content=MARKER), ("chat",)),
    Shape("text", _choice(text=MARKER), ("completions",)),
    Shape("parts", _message(content=[{"type": "text", "text": MARKER}]), ("chat",)),
    Shape("output parts", _message(content=[{"type": "output_text", "text": MARKER}]), ("chat",)),
    Shape("string parts", _message(content=[MARKER]), ("chat",)),
    Shape("unknown part", _message(content=[{"type": "future", "text": MARKER}])),
    Shape("part without type", _message(content=[{"text": MARKER}])),
    Shape("content object", _message(content={"type": "text", "text": MARKER})),
    Shape("nested content", _message(content=[[{"type": "text", "text": MARKER}]])),
    Shape("refusal object", _message(content=None, refusal={"text": MARKER})),
    Shape("audio", _message(content=None, audio={"id": "a", "transcript": MARKER})),
    Shape("unknown field", _message(content="", answer=MARKER)),
    Shape("parsed", _message(content=None, parsed={"answer": MARKER})),
    Shape("tool calls text", _message(content=MARKER, tool_calls="x")),
    Shape("tool calls object", _message(content=MARKER, tool_calls={"a": 1})),
    Shape("tool calls of text", _message(content=MARKER, tool_calls=["x"])),
    Shape("call without function", _message(content=MARKER, tool_calls=[{"id": "1"}])),
    Shape("call without name", _message(content=MARKER, tool_calls=[{"function": {"arguments": "{}"}}])),
    Shape("function call text", _message(content=MARKER, function_call="x")),
    Shape("message text", _choice(message=MARKER, delta=MARKER)),
    Shape("message list", _choice(message=[{"content": MARKER}], delta=[{"content": MARKER}])),
    Shape("unknown in choice", _choice(message={}, delta={}, answer=MARKER)),
    Shape("choice text", {"choices": [MARKER]}),
    Shape("choice list", {"choices": [[MARKER]]}),
    Shape("unclosed thought", _message(content=f"<think>{MARKER}")),
    Shape("analysis channel", _message(content=f"<|channel|>analysis<|message|>{MARKER}")),
    Shape("answer in a thought", _message(content=f"<think>{MARKER}</think>")),
    Shape("in the id", {"id": f"{MARKER} is the answer", **_choice(message={"content": MARKER})}, ("chat",)),
    Shape("in the model", {"model": f"{MARKER} it is", **_choice(message={"content": MARKER})}, ("chat",)),
    Shape(
        "in the usage",
        {"usage": {MARKER: MARKER, "prompt_tokens": MARKER}, **_choice(message={"content": MARKER})},
        ("chat",),
    ),
    Shape(
        "beside a plain one",
        {
            **_message(content=MARKER),
            "__verbose": {"content": MARKER},
            "system_fingerprint": f"fp {MARKER}",
            "service_tier": [MARKER],
            "created": MARKER,
            "object": MARKER,
        },
        ("chat",),
    ),
)


def _items(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "resp_x", "object": "response", "status": "completed", "output": [*items], **fields}


def _text(text: Any = MARKER, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}], **fields}


#: Responses with their text in unusual places.
OUTPUTS: Final = (
    Shape("plain", _items(_text()), ("responses",)),
    Shape("content text", _items({"type": "message", "content": MARKER}), ("responses",)),
    Shape(
        "untyped item",
        _items({"role": "assistant", "content": [{"type": "text", "text": MARKER}]}),
        ("responses",),
    ),
    Shape("unknown item", _items({"type": "future_call", "text": MARKER})),
    Shape("unknown item beside text", _items({"type": "future_call", "id": "1"}, _text()), ("responses",)),
    Shape("web search beside text", _items({"type": "web_search_call", "id": "1"}, _text()), ("responses",)),
    Shape("mcp call beside text", _items({"type": "mcp_call", "output": MARKER}, _text()), ("responses",)),
    Shape(
        "call result beside text",
        _items({"type": "function_call_output", "id": "1"}, _text()),
        ("responses",),
    ),
    Shape("item text", _items(MARKER)),
    Shape("unknown part", _items({"type": "message", "content": [{"type": "future", "text": MARKER}]})),
    Shape("part text", _items({"type": "message", "content": [MARKER]})),
    Shape("text object", _items(_text({"value": MARKER}))),
    Shape(
        "refusal object", _items({"type": "message", "content": [{"type": "refusal", "refusal": [MARKER]}]})
    ),
    Shape("output text beside reasoning", _items({"type": "reasoning", "summary": []}, output_text=MARKER)),
    Shape("thought", _items(_text(f"<think>{MARKER}"))),
    Shape(
        "echoes",
        _items(_text(), instructions=MARKER, metadata={"a": MARKER}, prompt={"id": MARKER}, user=MARKER),
        ("responses",),
    ),
)


def _blocks(*blocks: Any, **fields: Any) -> dict[str, Any]:
    message = {"id": "msg_x", "type": "message", "role": "assistant", "content": [*blocks]}
    return {**message, "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}, **fields}


_BLOCK: Final = {"type": "text", "text": MARKER}
#: Anthropic messages with their text in unusual places.
BLOCKS: Final = (
    Shape("plain", _blocks(_BLOCK), ("messages",)),
    Shape("refusal after text", _blocks(_BLOCK, stop_reason="refusal"), ("messages",)),
    Shape("unknown block", _blocks({"type": "future", "text": MARKER})),
    Shape("unknown block beside text", _blocks({"type": "future", "id": "1"}, _BLOCK), ("messages",)),
    Shape("server tool beside text", _blocks({"type": "server_tool_use", "id": "1"}, _BLOCK), ("messages",)),
    Shape("tool without name", _blocks({"type": "tool_use", "id": "1"}, _BLOCK), ("messages",)),
    Shape("block text", _blocks(MARKER)),
    Shape("text object", _blocks({"type": "text", "text": {"value": MARKER}})),
    Shape("content text", _blocks() | {"content": MARKER}),
    Shape("thought", _blocks({"type": "text", "text": f"<think>{MARKER}"})),
    Shape(
        "beside a plain one",
        _blocks(_BLOCK, id=f"{MARKER} x", model=f"{MARKER} x", more=MARKER),
        ("messages",),
    ),
)
SHAPES: Final = (*FOREIGN, *CHOICES, *OUTPUTS, *BLOCKS)


def events(surface: str, shape: Shape) -> Iterator[tuple[str, list[Any]]]:
    """Yield the streams that carry a shape, each with a name: the shape alone, and in the surface's last event."""
    yield "alone", [shape.body]
    if surface == "responses":
        yield "completed", [{"type": "response.completed", "response": shape.body}]
        if isinstance(shape.body, dict) and "output" in shape.body:
            items = [
                {"type": "response.output_item.done", "output_index": n, "item": item}
                for n, item in enumerate(shape.body["output"])
            ]
            end = {"type": "response.completed", "response": {**shape.body, "output": []}}
            yield "items", [*items, end]
    if surface == "messages":
        yield "started", [{"type": "message_start", "message": shape.body}, {"type": "message_stop"}]
        if isinstance(shape.body, dict) and isinstance(shape.body.get("content"), list):
            yield "blocks", list(_block_events(shape.body))


def _block_events(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": {**body, "content": []}}
    for index, block in enumerate(body["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": body.get("stop_reason")}, "usage": {}}
    yield {"type": "message_stop"}
