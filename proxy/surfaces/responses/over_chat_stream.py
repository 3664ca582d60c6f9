"""A chat's stream as OpenAI's responses stream it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.surfaces.responses.over_chat_items import (
    call_item,
    ended,
    envelope,
    logprobs_of,
    message_item,
    reasoning_item,
    text_part,
)
from proxy.surfaces.translation import named_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.surfaces.contract import Request


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
        place = call.get("index", 0)
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
        """The last item's end, and the whole response with ``idk``."""
        out = list(self._close())
        response = self._response | {"output": self._items} | ended(self._finish_reason, self._last)
        return self._sent([*out, {"type": f"response.{response['status']}", "response": response}])
