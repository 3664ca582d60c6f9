"""A chat's answer as a response: the fields around it, the items of its output, and the events of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, cast

import msgspec

from proxy.surfaces.chat.wire import CallNumbers, call_of
from proxy.surfaces.responses.wire import echoed
from proxy.surfaces.sse import named_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.surfaces.contract import Request


def envelope(answer: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Return a response that has begun, with the fields of its request that it repeats."""
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
        **echoed(request.origin or {}),
    }


def ended(finish_reason: Any, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a response that has ended; it is incomplete if a limit or a filter cut the answer off."""
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = reasons.get(str(finish_reason))
    # Unknown counts are left out: the format has no null for them.
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
    """Return the logprobs of a choice; None if they are malformed."""
    try:
        given = _LOGPROBS.decode(choice.get("logprobs", b"null"))
    except msgspec.ValidationError:
        return None
    return cast("list[Any] | None", given.get("content")) if given else None


def output(number: str, message: Mapping[str, Any], logprobs: Any) -> Iterator[dict[str, Any]]:
    """Return the items that say what a chat's message says; ``number`` is the response's id."""
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
    """Return an item with the model's thoughts."""
    content = [{"type": "reasoning_text", "text": text}]
    return {
        "id": f"rs_{number}",
        "type": "reasoning",
        "summary": [],
        "content": content,
        "status": "completed",
    }


def message_item(number: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of one part."""
    message = {"id": f"msg_{number}", "type": "message", "status": "completed", "role": "assistant"}
    return {**message, "content": [part]}


def text_part(text: str, logprobs: Any) -> dict[str, Any]:
    """Return a part with the answer's text and its tokens."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def call_item(number: str, place: int, call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item of the call at this place among the calls of an answer."""
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


class ResponseEvents:
    """Translates one stream: items and parts are opened and closed as the deltas of the chat change their kind."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._number = 0
        self._response: dict[str, Any] = {}
        self._items: list[dict[str, Any]] = []
        self._kind: str | None = None
        self._calls: dict[int, dict[str, Any]] = {}
        self._numbers = CallNumbers()
        self._finish_reason: Any = None
        self._last: dict[str, Any] = {}

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        """Return the events of one chunk."""
        out: list[dict[str, Any]] = []
        if not self._response:
            self._response = envelope(chunk, self._request)
            out += [
                {"type": f"response.{word}", "response": self._response}
                for word in ("created", "in_progress")
            ]
        for name in ("usage", "idk"):
            if chunk.get(name) is not None:
                self._last[name] = chunk[name]
        for choice in chunk.get("choices") or ():
            out += self._delta(choice.get("delta") or {}, logprobs_of(choice) or [])
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
            yield from self._open("reasoning", {**reasoning_item(number, ""), "status": "in_progress"})
            yield self._grown("text", "reasoning_text", thoughts, {})
        if delta.get("refusal"):
            yield from self._open("refusal", message_item(number, {"type": "refusal", "refusal": ""}))
            yield self._grown("refusal", "refusal", delta["refusal"], {})
        elif delta.get("content"):
            yield from self._open("output_text", message_item(number, text_part("", [])))
            part = self._items[-1]["content"][0]
            part["logprobs"] = [*part["logprobs"], *logprobs]
            yield self._grown("text", "output_text", delta["content"], {"logprobs": logprobs})
        for call in delta.get("tool_calls") or ():
            yield from self._called(number, call)

    def _called(self, number: str, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        place = self._numbers.number(call_of(call))
        if place not in self._calls:
            yield from self._close()
            item = call_item(
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
        """Return the end of the last item and the whole response with ``idk``."""
        out = list(self._close())
        response = self._response | {"output": self._items} | ended(self._finish_reason, self._last)
        return self._sent([*out, {"type": f"response.{response['status']}", "response": response}])
