"""OpenAI's responses at an upstream that speaks chat completions only: the translation of requests and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw, Struct

from proxy.exceptions import BadRequest
from proxy.server.errors import error_body
from proxy.surfaces.request_fields import RequestDecoder
from proxy.surfaces.responses.over_chat_output import ResponseEvents, ended, envelope, logprobs_of, output
from proxy.surfaces.responses.wire import INCLUDE, error_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import Request

#: The fields that a chat has under the same names.
_SAME: Final = (
    "model", "temperature", "top_p", "parallel_tool_calls", "user", "service_tier", "prompt_cache_key",
    "safety_identifier", "idk",
)  # fmt: skip
#: The fields that need an upstream with responses, and what to do without them.
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
    """The translation of responses; it has no state."""

    name = "responses"
    path = "/responses"

    def __init__(self) -> None:
        self._request = RequestDecoder(_Asked)

    def to_chat(self, body: bytes) -> dict[str, Any]:
        """Return the chat that asks the same; raises BadRequest."""
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
        """Return the response that says what the first choice of the chat says."""
        choice = (answer.get("choices") or [{}])[0]
        message = choice.get("message") or {}
        logprobs = logprobs_of(choice)
        response = envelope(answer, request)
        response["output"] = list(output(response["id"], message, logprobs))
        return response | ended(choice.get("finish_reason"), answer)

    def events(self, request: Request) -> ResponseEvents:
        """Return what translates one stream."""
        return ResponseEvents(request)

    def error(self, exc: HttpError) -> bytes:
        """Encode OpenAI's error object."""
        return error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """Encode an error as the event on which OpenAI's SDKs raise."""
        return error_event(exc)


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
        elif kind != "reasoning":  # a chat does not take thoughts of earlier turns back
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
            f"tools: a tool of type {tool.get('type')} is not available at this upstream", param="tools"
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
