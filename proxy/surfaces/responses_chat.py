"""OpenAI's responses in terms of chat completions: requests one way, answers and streams the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from proxy.exceptions import BadRequest
from proxy.surfaces.chat_wire import error_body
from proxy.surfaces.reading import Fields
from proxy.surfaces.responses_wire import INCLUDE, response_error_event
from proxy.surfaces.translated import named_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.exceptions import HttpError
    from proxy.wire import Request

#: Of a chat under the same names.
_SAME: Final = (
    "model", "temperature", "top_p", "parallel_tool_calls", "user", "service_tier", "prompt_cache_key",
    "safety_identifier", "idk",
)  # fmt: skip
#: What a response repeats of its request, and what stands there where the request said nothing.
_ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
#: What it repeats where the request said something, and leaves out else: they are texts, never null.
_ECHOED_IF_SAID: Final = ("user", "safety_identifier", "prompt_cache_key", "service_tier")
#: What an upstream without responses of its own cannot do.
_MISSING: Final[Mapping[str, str]] = {
    "previous_response_id": "this upstream keeps no responses; send the conversation as input",
    "background": "this upstream answers at once",
    "conversation": "this upstream keeps no conversations; send it as input",
    "prompt": "this upstream keeps no prompts; send its text as instructions",
}


class _Asked(Struct):
    model: str
    input: str | list[dict[str, Any]] = ""
    instructions: str | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    max_output_tokens: int | None = None
    text: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    reasoning: dict[str, Any] | None = None
    stream: bool | None = None


class ResponsesOverChat:
    """See ``Translation``; stateless."""

    name = "responses"
    path = "/responses"

    def __init__(self) -> None:
        self._request = Fields(_Asked)

    def to_chat(self, body: bytes) -> dict[str, Any]:
        """The chat that asks the same; raises BadRequest."""
        asked, fields = self._request(body)
        for name, why in _MISSING.items():
            if fields.get(name, Raw(b"null")) not in (Raw(b"null"), Raw(b"false")):
                raise BadRequest(f"{name}: {why}", param=name)
        chat: dict[str, Any] = {name: fields[name] for name in _SAME if name in fields}
        chat["messages"] = list(_messages(asked))
        if asked.max_output_tokens is not None:
            chat["max_tokens"] = asked.max_output_tokens
        if INCLUDE in (asked.include or ()):
            chat |= {"logprobs": True, "top_logprobs": asked.top_logprobs or 0}
        if asked.stream:
            chat |= {"stream": True, "stream_options": {"include_usage": True}}
        if asked.tools:
            chat["tools"] = [_tool(tool) for tool in asked.tools]
        if asked.tool_choice is not None:
            chat["tool_choice"] = _tool_choice(asked.tool_choice)
        if asked.reasoning and asked.reasoning.get("effort"):
            chat["reasoning_effort"] = asked.reasoning["effort"]
        return chat | _response_format(asked.text)

    def from_chat(self, answer: dict[str, Any], request: Request) -> dict[str, Any]:
        """The response that says what the chat's first choice does."""
        choice = (answer.get("choices") or [{}])[0]
        message = choice.get("message") or {}
        logprobs = _logprobs(choice)
        response = _envelope(answer, request)
        response["output"] = list(_output(response["id"], message, logprobs))
        return response | _ended(choice.get("finish_reason"), answer)

    def events(self, request: Request) -> ResponseEvents:
        """What translates one stream."""
        return ResponseEvents(request)

    def error(self, exc: HttpError) -> bytes:
        """OpenAI's error object."""
        return error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """The event on which OpenAI's SDKs raise."""
        return response_error_event(exc)


# Requests


def _messages(asked: _Asked) -> Iterator[dict[str, Any]]:
    if asked.instructions:
        yield {"role": "system", "content": asked.instructions}
    if isinstance(asked.input, str):
        yield {"role": "user", "content": asked.input}
        return
    for number, item in enumerate(asked.input):
        kind = item.get("type", "message")
        if kind == "message":
            yield {"role": _role(item), "content": _content(item.get("content"))}
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            yield {"role": "assistant", "content": None, "tool_calls": [call]}
        elif kind == "function_call_output":
            yield {
                "role": "tool",
                "tool_call_id": item.get("call_id"),
                "content": _output_text(item.get("output")),
            }
        elif kind != "reasoning":  # thoughts of earlier turns stay behind: no chat takes them back
            raise BadRequest(
                f"input[{number}]: an item of type {kind} cannot be sent to this upstream", param="input"
            )


def _role(item: Mapping[str, Any]) -> str:
    role = str(item.get("role"))
    return "system" if role == "developer" else role


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [_part(part) for part in content if isinstance(part, dict)]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": part.get("text", "")}
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal", "")}
    if kind == "input_image":
        return {
            "type": "image_url",
            "image_url": {"url": part.get("image_url"), "detail": part.get("detail", "auto")},
        }
    raise BadRequest(f"input: a part of type {kind} cannot be sent to this upstream", param="input")


def _output_text(output: Any) -> str:
    if isinstance(output, list):
        return "".join(str(part.get("text", "")) for part in output if isinstance(part, dict))
    return "" if output is None else str(output)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise BadRequest(
            f"tools: a tool of type {tool.get('type')} is not to be had at this upstream", param="tools"
        )
    function = {name: tool[name] for name in ("name", "description", "parameters", "strict") if name in tool}
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice


def _response_format(text: Mapping[str, Any] | None) -> dict[str, Any]:
    wanted = (text or {}).get("format")
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return {}
    if wanted["type"] != "json_schema":
        return {"response_format": {"type": wanted["type"]}}
    schema = {name: wanted[name] for name in ("name", "description", "schema", "strict") if name in wanted}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


# Answers


def _id(answer: Mapping[str, Any], kind: str) -> str:
    return f"{kind}_{str(answer.get('id') or '').removeprefix('chatcmpl-')}"


def _logprobs(choice: Mapping[str, Any]) -> list[Any] | None:
    """Of the tokens; malformed ones are none, and never the end of an answer."""
    given = choice.get("logprobs")
    content = given.get("content") if isinstance(given, dict) else None
    return content if isinstance(content, list) else None


def _readable(given: Raw | None) -> Any:
    """A field of the request's; None where there is none, or it is a number that no reader could hold."""
    try:
        return None if given is None else msgspec.json.decode(given)
    except (msgspec.DecodeError, RecursionError):
        return None


def _envelope(answer: Mapping[str, Any], request: Request) -> dict[str, Any]:
    asked = request.origin or {}
    said = {name: _readable(asked.get(name)) for name in (*_ECHOED, *_ECHOED_IF_SAID)}
    echoed = {**_ECHOED, **{name: value for name, value in said.items() if value is not None}}
    return {
        "id": _id(answer, "resp"),
        "object": "response",
        "created_at": answer.get("created") or 0,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": answer.get("model") or request.model,
        "output": [],
        **echoed,
    }


def _ended(finish_reason: Any, answer: Mapping[str, Any]) -> dict[str, Any]:
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = reasons.get(str(finish_reason))
    # What is not known is left out: the format has no null for it.
    counted = {"usage": _usage(answer["usage"])} if answer.get("usage") else {}
    return {
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        **counted,
        "idk": answer.get("idk"),
    }


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    asked, answered = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": usage.get("total_tokens") or asked + answered,
    }


def _output(number: str, message: Mapping[str, Any], logprobs: Any) -> Iterator[dict[str, Any]]:
    number = number.removeprefix("resp_")
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thoughts, str) and thoughts:
        yield _reasoning(number, thoughts)
    if message.get("refusal"):
        yield _message(number, {"type": "refusal", "refusal": message["refusal"]})
    elif message.get("content"):
        yield _message(number, _text_part(message["content"], logprobs))
    for place, call in enumerate(message.get("tool_calls") or ()):
        yield _call(number, place, call)


def _reasoning(number: str, text: str) -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}]
    return {
        "id": f"rs_{number}",
        "type": "reasoning",
        "summary": [],
        "content": content,
        "status": "completed",
    }


def _message(number: str, part: Mapping[str, Any]) -> dict[str, Any]:
    message = {"id": f"msg_{number}", "type": "message", "status": "completed", "role": "assistant"}
    return {**message, "content": [part]}


def _text_part(text: str, logprobs: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def _call(number: str, place: int, call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return {
        "id": f"fc_{number}_{place}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.get("id"),
        "name": function.get("name"),
        "arguments": function.get("arguments") or "",
    }


class ResponseEvents:
    """One stream: items and parts are opened and closed as the chat's deltas turn from one kind to another."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._number = 0
        self._response: dict[str, Any] = {}
        self._items: list[dict[str, Any]] = []
        self._kind: str | None = None
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish_reason: Any = None
        self._last: dict[str, Any] = {}

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        """The events of one chunk."""
        out: list[dict[str, Any]] = []
        if not self._response:
            self._response = _envelope(chunk, self._request)
            out += [
                {"type": f"response.{word}", "response": self._response}
                for word in ("created", "in_progress")
            ]
        for name in ("usage", "idk"):
            if chunk.get(name) is not None:
                self._last[name] = chunk[name]
        for choice in chunk.get("choices") or ():
            out += self._delta(choice.get("delta") or {}, _logprobs(choice) or [])
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        return self._sent(out)

    def _sent(self, events: list[dict[str, Any]]) -> bytes:
        sent = []
        for event in events:
            sent.append(named_event({**event, "sequence_number": self._number}))
            self._number += 1
        return b"".join(sent)

    def _delta(self, delta: dict[str, Any], logprobs: list[Any]) -> Iterator[dict[str, Any]]:
        number = self._response["id"].removeprefix("resp_")
        thoughts = delta.get("reasoning_content") or delta.get("reasoning")
        if thoughts:
            yield from self._open("reasoning", {**_reasoning(number, ""), "status": "in_progress"})
            yield self._grown("text", "reasoning_text", thoughts, {})
        if delta.get("refusal"):
            yield from self._open("refusal", _message(number, {"type": "refusal", "refusal": ""}))
            yield self._grown("refusal", "refusal", delta["refusal"], {})
        elif delta.get("content"):
            yield from self._open("output_text", _message(number, _text_part("", [])))
            part = self._items[-1]["content"][0]
            part["logprobs"] = [*part["logprobs"], *logprobs]
            yield self._grown("text", "output_text", delta["content"], {"logprobs": logprobs})
        for call in delta.get("tool_calls") or ():
            yield from self._called(number, call)

    def _called(self, number: str, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        place = call.get("index", 0)
        if place not in self._calls:
            yield from self._close()
            item = _call(
                number, place, {**call, "function": {**(call.get("function") or {}), "arguments": ""}}
            )
            self._calls[place] = item
            self._kind = "function_call"
            yield from self._added({**item, "status": "in_progress"}, item)
        arguments = (call.get("function") or {}).get("arguments")
        if arguments:
            item = self._calls[place]
            item["arguments"] += arguments
            at = {"item_id": item["id"], "output_index": self._items.index(item)}
            yield {"type": "response.function_call_arguments.delta", **at, "delta": arguments}

    def _open(self, kind: str, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._kind == kind:
            return
        yield from self._close()
        self._kind = kind
        (part,) = item["content"]
        yield from self._added({**item, "status": "in_progress", "content": []}, item)
        yield {"type": "response.content_part.added", **self._at(), "part": dict(part)}

    def _added(self, shown: dict[str, Any], item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._items.append(item)
        yield {"type": "response.output_item.added", "output_index": len(self._items) - 1, "item": shown}

    def _at(self) -> dict[str, Any]:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1, "content_index": 0}

    def _grown(self, name: str, kind: str, text: str, more: dict[str, Any]) -> dict[str, Any]:
        part = self._items[-1]["content"][0]
        part[name] += text
        return {"type": f"response.{kind}.delta", **self._at(), "delta": text, **more}

    def _close(self) -> Iterator[dict[str, Any]]:
        kind, self._kind = self._kind, None
        if kind is None:
            return
        item = self._items[-1]
        item["status"] = "completed"
        if kind == "function_call":
            at = {"item_id": item["id"], "output_index": len(self._items) - 1}
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **at, **done}
        else:
            part = item["content"][0]
            name = "refusal" if kind == "refusal" else "text"
            word = "reasoning_text" if kind == "reasoning" else kind
            logprobs = {"logprobs": part["logprobs"]} if kind == "output_text" else {}
            yield {"type": f"response.{word}.done", **self._at(), name: part[name], **logprobs}
            yield {"type": "response.content_part.done", **self._at(), "part": part}
        yield {"type": "response.output_item.done", "output_index": len(self._items) - 1, "item": item}

    def done(self) -> bytes:
        """The last item's end, and the whole response with ``idk``."""
        out = list(self._close())
        response = self._response | {"output": self._items} | _ended(self._finish_reason, self._last)
        return self._sent([*out, {"type": f"response.{response['status']}", "response": response}])
