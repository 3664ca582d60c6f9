"""Anthropic's messages at an upstream that speaks chat completions only: the translation of requests and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from proxy.exceptions import BadRequest
from proxy.surfaces.chat.wire import CallNumbers, call_of
from proxy.surfaces.messages.wire import STOP_REASONS, error_body, error_event
from proxy.surfaces.request_fields import RequestDecoder
from proxy.surfaces.sse import named_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import Request

_TOOL_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "any": "required", "none": "none"}


class MessagesRequest(Struct):
    """The fields of a request for a message of which a chat has an equivalent."""

    model: str
    messages: list[dict[str, Any]]
    max_tokens: int
    system: str | list[dict[str, Any]] | UnsetType = UNSET
    stream: bool = False
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET
    tools: list[dict[str, Any]] | UnsetType = UNSET
    tool_choice: dict[str, Any] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    output_config: dict[str, Any] | UnsetType = UNSET
    idk: dict[str, Any] | UnsetType = UNSET


class MessagesOverChat:
    """The translation of messages; it has no state."""

    name = "messages"
    path = "/messages"

    def __init__(self) -> None:
        self._request = RequestDecoder(MessagesRequest)

    def to_chat(self, body: bytes) -> dict[str, Any]:
        """Return the chat that asks the same; raises BadRequest."""
        asked, _ = self._request(body)
        fields: dict[str, Any] = {
            "model": asked.model,
            "messages": [*_system(asked.system), *_messages(asked.messages)],
            "max_tokens": asked.max_tokens,
        }
        for name in ("temperature", "top_p", "top_k", "idk"):
            if (value := getattr(asked, name)) is not UNSET:
                fields[name] = value
        if asked.stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        if asked.stop_sequences:
            fields["stop"] = asked.stop_sequences
        if asked.tools:
            fields["tools"] = [_tool(tool) for tool in asked.tools]
        if asked.tool_choice is not UNSET:
            fields |= _tool_choice(asked.tool_choice)
        if asked.metadata is not UNSET and isinstance(asked.metadata.get("user_id"), str):
            fields["user"] = asked.metadata["user_id"]
        if asked.output_config is not UNSET:
            fields |= _response_format(asked.output_config)
        return fields

    def from_chat(self, answer: dict[str, Any], request: Request) -> dict[str, Any]:
        """Return the message that says what the first choice of the chat says."""
        choice = (answer.get("choices") or [{}])[0]
        message = choice.get("message") or {}
        usage = answer.get("usage") or {}
        return {
            "id": _id(answer),
            "type": "message",
            "role": "assistant",
            "model": answer.get("model") or request.model,
            "content": list(_content(message)),
            "stop_reason": _stop_reason(choice.get("finish_reason"), refuses=bool(message.get("refusal"))),
            "stop_sequence": None,
            "usage": {
                "input_tokens": usage.get("prompt_tokens") or 0,
                "output_tokens": usage.get("completion_tokens") or 0,
            },
            "idk": answer.get("idk"),
        }

    def events(self, request: Request) -> MessageEvents:
        """Return what translates one stream."""
        return MessageEvents(request.model)

    def error(self, exc: HttpError) -> bytes:
        """Encode Anthropic's error object."""
        return error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """Encode an error as the event on which Anthropic's SDKs raise."""
        return error_event(exc)


# Requests


def _system(system: str | list[dict[str, Any]] | UnsetType) -> list[dict[str, Any]]:
    if system is UNSET:
        return []
    text = system if isinstance(system, str) else "\n".join(str(part.get("text", "")) for part in system)
    return [{"role": "system", "content": text}]


def _messages(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant"):
            raise BadRequest(f"messages[{number}].role: must be user or assistant", param="messages")
        if isinstance(content, str):
            yield {"role": role, "content": content}
        elif isinstance(content, list) and all(isinstance(block, dict) for block in content):
            yield from _user(content) if role == "user" else _assistant(content)
        else:
            raise BadRequest(f"messages[{number}].content: must be text or blocks", param="messages")


def _user(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the messages of a user's blocks. In a chat the results of tools are separate messages, before the text."""
    parts: list[dict[str, Any]] = []
    for block in blocks:
        kind = block.get("type")
        if kind == "tool_result":
            yield {
                "role": "tool",
                "tool_call_id": block.get("tool_use_id"),
                "content": _text(block.get("content")),
            }
        elif kind == "text":
            parts.append({"type": "text", "text": block.get("text", "")})
        elif kind == "image":
            parts.append({"type": "image_url", "image_url": {"url": _image(block.get("source") or {})}})
        else:
            raise BadRequest(
                f"messages: a block of type {kind} cannot be sent to this upstream", param="messages"
            )
    if parts:
        yield {"role": "user", "content": parts}


def _image(source: Mapping[str, Any]) -> str:
    if source.get("type") == "base64":
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    return str(source.get("url", ""))


def _assistant(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the message of an assistant's blocks, without thoughts, which a chat does not take back."""
    text = "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    calls = [
        {
            "id": block.get("id"),
            "type": "function",
            "function": {
                "name": block.get("name"),
                "arguments": msgspec.json.encode(block.get("input") or {}).decode(),
            },
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    if calls:
        yield {"role": "assistant", "content": text or None, "tool_calls": calls}
    else:
        yield {"role": "assistant", "content": text}


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content if isinstance(block, dict))
    return "" if content is None else str(content)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool.get("name"), "parameters": tool.get("input_schema") or {"type": "object"}}
    if "description" in tool:
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _tool_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    parallel = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    if choice.get("type") == "tool":
        named = {"type": "function", "function": {"name": choice.get("name")}}
        return {"tool_choice": named, **parallel}
    return {"tool_choice": _TOOL_CHOICES.get(str(choice.get("type")), "auto"), **parallel}


def _response_format(config: Mapping[str, Any]) -> dict[str, Any]:
    wanted = config.get("format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return {}
    schema = {"name": "answer", "strict": True, "schema": wanted.get("schema")}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


# Answers


def _id(answer: Mapping[str, Any]) -> str:
    given = str(answer.get("id") or "")
    return given if given.startswith("msg_") else f"msg_{given.removeprefix('chatcmpl-')}"


def _stop_reason(finish_reason: Any, *, refuses: bool) -> str:
    return "refusal" if refuses else STOP_REASONS.get(str(finish_reason), "end_turn")


def _content(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thoughts, str) and thoughts:
        yield {"type": "thinking", "thinking": thoughts, "signature": ""}
    text = message.get("content") or message.get("refusal")
    if text:
        yield {"type": "text", "text": text}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        yield {
            "type": "tool_use",
            "id": call.get("id"),
            "name": function.get("name"),
            "input": _arguments(function.get("arguments")),
        }


def _arguments(text: Any) -> Any:
    try:
        return msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, TypeError):
        return {"arguments": text}  # not JSON, although the model was asked for it


class MessageEvents:
    """Translates one stream: blocks are opened and closed as the deltas of the chat change their kind."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._begun = False
        self._block: tuple[str, int] | None = None
        self._next = 0
        self._numbers = CallNumbers()
        self._stop_reason = "end_turn"
        self._refuses = False
        self._usage: dict[str, Any] = {}
        self._idk: Any = None

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        """Return the events of one chunk."""
        out = [] if self._begun else [self._start(chunk)]
        self._usage = chunk.get("usage") or self._usage
        self._idk = chunk.get("idk", self._idk)
        for choice in chunk.get("choices") or ():
            out += self._delta(choice.get("delta") or {})
            if choice.get("finish_reason"):
                self._stop_reason = _stop_reason(choice["finish_reason"], refuses=self._refuses)
        return b"".join(map(named_event, out))

    def _start(self, chunk: dict[str, Any]) -> dict[str, Any]:
        self._begun = True
        message: dict[str, Any] = {
            "id": _id(chunk),
            "type": "message",
            "role": "assistant",
            "model": chunk.get("model") or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return {"type": "message_start", "message": message}

    def _delta(self, delta: dict[str, Any]) -> Iterator[dict[str, Any]]:
        thoughts = delta.get("reasoning_content") or delta.get("reasoning")
        if thoughts:
            yield from self._open("thinking", 0, {"type": "thinking", "thinking": "", "signature": ""})
            yield self._grown({"type": "thinking_delta", "thinking": thoughts})
        self._refuses = self._refuses or bool(delta.get("refusal"))
        text = delta.get("content") or delta.get("refusal")
        if text:
            yield from self._open("text", 0, {"type": "text", "text": ""})
            yield self._grown({"type": "text_delta", "text": text})
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            block = {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": {}}
            yield from self._open("tool_use", self._numbers.number(call_of(call)), block)
            if function.get("arguments"):
                yield self._grown({"type": "input_json_delta", "partial_json": function["arguments"]})

    def _open(self, kind: str, number: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._block == (kind, number):
            return
        yield from self._close()
        self._block = (kind, number)
        yield {"type": "content_block_start", "index": self._next, "content_block": block}

    def _grown(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._next, "delta": delta}

    def _close(self) -> Iterator[dict[str, Any]]:
        if self._block is not None:
            yield {"type": "content_block_stop", "index": self._next}
            self._block = None
            self._next += 1

    def done(self) -> bytes:
        """Return the end of the last block, the stop reason, and ``idk``."""
        usage = {
            "input_tokens": self._usage.get("prompt_tokens") or 0,
            "output_tokens": self._usage.get("completion_tokens") or 0,
        }
        ending = {
            "type": "message_delta",
            "delta": {"stop_reason": self._stop_reason, "stop_sequence": None},
            "usage": usage,
            "idk": self._idk,
        }
        return b"".join(map(named_event, [*self._close(), ending, {"type": "message_stop"}]))
