"""A chat's answer in the parts of OpenAI's responses: the envelope, and the items of its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msgspec import Raw

    from proxy.surfaces.contract import Request

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

#: Bytes of the request that a response repeats: a stream does so three times, on the loop.
_MOST_ECHOED: Final = 1_000_000


def envelope(answer: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """A response that has only begun, with what it repeats of its request."""
    asked = request.origin or {}
    echoed = {**_ECHOED, **dict(_repeated(asked))}
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


def ended(finish_reason: Any, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a response says besides its output once it has ended; unfinished where a limit or a filter cut it off."""
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


class _Alternative(TypedDict, total=False):
    token: str | None
    logprob: float | None
    bytes: list[int] | None


class _Token(_Alternative, total=False):
    top_logprobs: list[_Alternative] | None


class _Logprobs(TypedDict, total=False):
    content: list[_Token] | None


_LOGPROBS = msgspec.json.Decoder(_Logprobs | None)


def logprobs_of(choice: Mapping[str, Any]) -> list[Any] | None:
    """Of the tokens; malformed ones are none, and never the end of an answer."""
    try:
        given = _LOGPROBS.decode(choice.get("logprobs", b"null"))
    except msgspec.ValidationError:
        return None
    return cast("list[Any] | None", given.get("content")) if given else None


def output(number: str, message: Mapping[str, Any], logprobs: Any) -> Iterator[dict[str, Any]]:
    """The items that say what a chat's message does; ``number`` is the response's id."""
    number = number.removeprefix("resp_")
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thoughts, str) and thoughts:
        yield reasoning_item(number, thoughts)
    if message.get("refusal"):
        yield message_item(number, {"type": "refusal", "refusal": message["refusal"]})
    elif message.get("content"):
        yield message_item(number, text_part(message["content"], logprobs))
    for place, call in enumerate(message.get("tool_calls") or ()):
        yield call_item(number, place, call)


def reasoning_item(number: str, text: str) -> dict[str, Any]:
    """The model's thoughts."""
    content = [{"type": "reasoning_text", "text": text}]
    return {
        "id": f"rs_{number}",
        "type": "reasoning",
        "summary": [],
        "content": content,
        "status": "completed",
    }


def message_item(number: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """A message of one part."""
    message = {"id": f"msg_{number}", "type": "message", "status": "completed", "role": "assistant"}
    return {**message, "content": [part]}


def text_part(text: str, logprobs: Any) -> dict[str, Any]:
    """An answer's text, with its tokens."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def call_item(number: str, place: int, call: Mapping[str, Any]) -> dict[str, Any]:
    """The call at this place among the answer's."""
    function = call.get("function") or {}
    return {
        "id": f"fc_{number}_{place}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.get("id"),
        "name": function.get("name"),
        "arguments": function.get("arguments") or "",
    }


def _id(answer: Mapping[str, Any], kind: str) -> str:
    return f"{kind}_{str(answer.get('id') or '').removeprefix('chatcmpl-')}"


def _repeated(asked: Mapping[str, Raw]) -> Iterator[tuple[str, Any]]:
    """The fields of the request's that its response repeats: as many as are not too large together."""
    room = _MOST_ECHOED
    for name in (*_ECHOED, *_ECHOED_IF_SAID):
        given = asked.get(name)
        if given is None or len(given) > room:
            continue
        room -= len(given)
        value = _readable(given)
        if value is not None:
            yield name, value


def _readable(given: Raw) -> Any:
    """A field of the request's; None where it is a number that no reader could hold."""
    try:
        return msgspec.json.decode(given)
    except (msgspec.DecodeError, RecursionError):
        return None


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
