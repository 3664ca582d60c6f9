"""The wire formats of the fake upstream beside the chat's: where the prompt is, and how an answer looks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.fakes import Said


@dataclass(frozen=True, slots=True)
class Format:
    """One path's format: the prompt of a request, a whole answer, and the events of a stream."""

    prompt: Callable[[Any], Any]
    whole: Callable[[Any, Sequence[Said]], dict[str, Any]]
    events: Callable[[Any, Sequence[Said]], list[tuple[str | None, dict[str, Any] | str]]]


def text_of(content: Any) -> Any:
    """Return the text of a message, which some clients send in parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content


def _tokens(said: Said) -> int:
    return len(said.tokens)


# Completions


def _completion_prompt(request: Any) -> Any:
    prompt = request["prompt"]
    return prompt[0] if isinstance(prompt, list) else prompt


def _lists(request: Any, said: Said, part: slice = slice(None)) -> Any:
    if request.get("logprobs") is None:
        return None
    if said.logprobs is not None:
        return {"scripted": said.logprobs}
    tokens, values = said.tokens[part], said.values[part]
    return {
        "tokens": list(tokens),
        "token_logprobs": list(values),
        "top_logprobs": [{token: value} for token, value in zip(tokens, values, strict=True)],
        "text_offset": list(range(len(tokens))),
    }


_COMPLETION = {"id": "cmpl-fake", "object": "text_completion", "created": 1_700_000_000}


def _usage(choices: Sequence[Said]) -> dict[str, int]:
    tokens = sum(map(_tokens, choices))
    return {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}


def _completion(request: Any, choices: Sequence[Said]) -> dict[str, Any]:
    rendered = [
        {
            "index": n,
            "text": said.text,
            "logprobs": _lists(request, said),
            "finish_reason": said.finish_reason,
        }
        for n, said in enumerate(choices)
    ]
    return {**_COMPLETION, "model": request["model"], "choices": rendered, "usage": _usage(choices)}


def _completion_events(
    request: Any, choices: Sequence[Said]
) -> list[tuple[str | None, dict[str, Any] | str]]:
    events: list[tuple[str | None, dict[str, Any] | str]] = []
    envelope = {**_COMPLETION, "model": request["model"]}
    for n, said in enumerate(choices):
        for place, token in enumerate(said.tokens):
            last = place == len(said.tokens) - 1
            part = {
                "index": n,
                "text": token,
                "logprobs": _lists(request, said, slice(place, place + 1)),
                "finish_reason": said.finish_reason if last else None,
            }
            events.append((None, {**envelope, "choices": [part]}))
    if (request.get("stream_options") or {}).get("include_usage"):
        events.append((None, {**envelope, "choices": [], "usage": _usage(choices)}))
    return [*events, (None, "[DONE]")]


# Responses


def _response_prompt(request: Any) -> Any:
    given = request["input"]
    return given if isinstance(given, str) else text_of(given[-1].get("content"))


def _content_logprobs(request: Any, said: Said, part: slice = slice(None)) -> Any:
    if "message.output_text.logprobs" not in (request.get("include") or ()):
        return []
    if said.logprobs is not None:
        return {"scripted": said.logprobs}
    return [
        {"token": token, "logprob": value, "bytes": list(token.encode()), "top_logprobs": []}
        for token, value in zip(said.tokens[part], said.values[part], strict=True)
    ]


def _output(request: Any, said: Said) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.message.get("refusal"):
        content: list[dict[str, Any]] = [{"type": "refusal", "refusal": said.message["refusal"]}]
    else:
        logprobs = _content_logprobs(request, said)
        content = [{"type": "output_text", "text": said.text, "annotations": [], "logprobs": logprobs}]
    if said.tokens or said.message.get("refusal"):
        items.append(
            {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": content}
        )
    items += [
        {
            "id": f"fc_{n}",
            "type": "function_call",
            "status": "completed",
            "call_id": tool["id"],
            **tool["function"],
        }
        for n, tool in enumerate(said.message.get("tool_calls") or ())
    ]
    return items


def _response(request: Any, choices: Sequence[Said]) -> dict[str, Any]:
    (said,) = choices
    cut = said.finish_reason == "length"
    usage = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": _tokens(said),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7 + _tokens(said),
    }
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": request.get("instructions"),
        "metadata": request.get("metadata") or {},
        "model": request["model"],
        "output": _output(request, said),
        "parallel_tool_calls": True,
        "temperature": request.get("temperature", 1.0),
        "tool_choice": "auto",
        "tools": request.get("tools") or [],
        "top_p": 1.0,
        "usage": usage,
    }


def _response_events(request: Any, choices: Sequence[Said]) -> list[tuple[str | None, dict[str, Any] | str]]:
    (said,) = choices
    whole = _response(request, choices)
    begun = {**whole, "status": "in_progress", "output": []}
    del begun["usage"]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for place, item in enumerate(whole["output"]):
        events.append(
            {"type": "response.output_item.added", "output_index": place, "item": {**item, "content": []}}
        )
        if item["type"] == "message":
            events += _message_events(request, said, place, item)
        events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    end = "response.incomplete" if whole["status"] == "incomplete" else "response.completed"
    events.append({"type": end, "response": whole})
    return [(event["type"], {**event, "sequence_number": n}) for n, event in enumerate(events)]


def _message_events(request: Any, said: Said, place: int, item: Mapping[str, Any]) -> list[dict[str, Any]]:
    (part,) = item["content"]
    at = {"item_id": item["id"], "output_index": place, "content_index": 0}
    if part["type"] == "refusal":
        return [
            {"type": "response.content_part.added", **at, "part": {**part, "refusal": ""}},
            {"type": "response.refusal.delta", **at, "delta": part["refusal"]},
            {"type": "response.refusal.done", **at, "refusal": part["refusal"]},
            {"type": "response.content_part.done", **at, "part": part},
        ]
    deltas = [
        {
            "type": "response.output_text.delta",
            **at,
            "delta": token,
            "logprobs": _content_logprobs(request, said, slice(n, n + 1)),
        }
        for n, token in enumerate(said.tokens)
    ]
    return [
        {"type": "response.content_part.added", **at, "part": {**part, "text": "", "logprobs": []}},
        *deltas,
        {"type": "response.output_text.done", **at, "text": said.text, "logprobs": part["logprobs"]},
        {"type": "response.content_part.done", **at, "part": part},
    ]


# Anthropic's messages


def _message_prompt(request: Any) -> Any:
    return text_of(request["messages"][-1]["content"])


_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def _blocks(said: Said) -> list[dict[str, Any]]:
    text = "" if said.message.get("refusal") else said.text  # what comes before a refusal is an answer
    calls = [
        {
            "type": "tool_use",
            "id": tool["id"],
            "name": tool["function"]["name"],
            "input": json.loads(tool["function"]["arguments"]),
        }
        for tool in said.message.get("tool_calls") or ()
    ]
    return [*([{"type": "text", "text": text}] if text else []), *calls]


def _anthropic(request: Any, choices: Sequence[Said]) -> dict[str, Any]:
    (said,) = choices
    refuses = bool(said.message.get("refusal"))
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": _blocks(said),
        "stop_reason": "refusal" if refuses else _STOPS[said.finish_reason],
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": _tokens(said)},
    }


def _anthropic_events(request: Any, choices: Sequence[Said]) -> list[tuple[str | None, dict[str, Any] | str]]:
    (said,) = choices
    whole = _anthropic(request, choices)
    start = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": 7, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for place, block in enumerate(whole["content"]):
        texts = block["type"] == "text"
        empty = {**block, **({"text": ""} if texts else {"input": {}})}
        pieces = said.tokens or (block.get("text", ""),) if texts else (json.dumps(block["input"]),)
        events.append({"type": "content_block_start", "index": place, "content_block": empty})
        for piece in pieces:
            delta = (
                {"type": "text_delta", "text": piece}
                if texts
                else {"type": "input_json_delta", "partial_json": piece}
            )
            events.append({"type": "content_block_delta", "index": place, "delta": delta})
        events.append({"type": "content_block_stop", "index": place})
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events += [
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": _tokens(said)}},
        {"type": "message_stop"},
    ]
    return [(event["type"], event) for event in events]


FORMATS: Mapping[str, Format] = {
    "/v1/completions": Format(_completion_prompt, _completion, _completion_events),
    "/v1/responses": Format(_response_prompt, _response, _response_events),
    "/v1/messages": Format(_message_prompt, _anthropic, _anthropic_events),
}


def framed(name: str | None, payload: dict[str, Any] | str) -> tuple[bytes, str]:
    """Return the lines before the data of an event, and the data as JSON text."""
    head = b"" if name is None else f"event: {name}\n".encode()
    return head, payload if isinstance(payload, str) else json.dumps(payload)
