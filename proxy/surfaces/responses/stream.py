"""OpenAI's responses as an event stream: read for the gate, held or passed on, and ended with the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gating.types import Unmeasured
from proxy.exceptions import UNREADABLE, UpstreamCut, UpstreamGarbage
from proxy.server.bodies import check_stream_event
from proxy.surfaces import sse, thoughts
from proxy.surfaces.answer_fields import counted
from proxy.surfaces.json_bytes import strict_json
from proxy.surfaces.responses import wire
from proxy.surfaces.vendor_errors import stream_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.surfaces.contract import Ask, Completion, EarlyVerdict, Request, Verdict
    from proxy.surfaces.tokens import Token

#: Bytes of an event: the last one holds the whole answer.
_EVENT_LIMIT: Final = 10_000_000
#: The events that end a stream.
_ENDS: Final = ("response.completed", "response.incomplete")
_ERRORS: Final = ("error", "response.failed", "response.cancelled")
#: The beginnings of the types of events that are known to hold no text of the answer but the text that is read.
_KNOWN: Final = (
    "response.created", "response.in_progress", "response.queued", "response.output_item.", "response.content_part.",
    "response.output_text.", "response.refusal.", "response.function_call_arguments.", "response.reasoning",
    "response.custom_tool_call_input.", "response.mcp_", "response.web_search_call.", "response.file_search_call.",
    "response.code_interpreter_call", "response.image_generation_call.", "keepalive", "ping", *_ENDS,
)  # fmt: skip


class ResponsesStream:
    """Reads one stream. While it holds, ``feed`` returns nothing; else only the end of the stream is kept back."""

    def __init__(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], EarlyVerdict] | None
    ) -> None:
        self._request = request
        self._ask = ask
        self._hold = hold
        self._early = watch() if watch else None
        self._cut = wire.for_client(request, ask)
        self._events = sse.Splitter(_EVENT_LIMIT)
        self._texts: list[str] = []
        self._tokens: list[Token] = []
        self._malformed: Unmeasured | None = None
        self._marks = thoughts.MarkFinder()
        self._unreadable: str | None = None
        #: The type of an event that may hold text which is not read.
        self._unknown: str | None = None
        #: The items that the stream completed one by one.
        self._items: list[Any] = []
        self._envelope: dict[str, Any] = {}
        self._response: dict[str, Any] | None = None
        #: Encoded events: a hundred thousand of them as objects would keep the garbage collector busy.
        self._written: list[bytes] = []
        self._last: list[dict[str, Any]] = []

    def feed(self, data: bytes) -> bytes:
        """Read ``data`` and return what may be sent to the client now."""
        for payload in self._events.feed(data):
            if payload != sse.DONE and self._response is None:
                self._take(payload)
        if self._hold:
            return b""
        written, self._written = self._written, []
        return b"".join(written)

    def _take(self, payload: bytes) -> None:
        """Read one event."""
        event = _decoded(payload)
        if event is None:
            self._written.append(sse.event(payload))
            self._unknown = self._unknown or "an event that is not an object"
            return
        kind, response = event.get("type"), event.get("response")
        if kind in _ERRORS or (kind is None and event.get("error")):
            said = response.get("error") if isinstance(response, dict) else event
            raise stream_error(said)
        if isinstance(response, dict) and not self._envelope:
            self._envelope = response
        self._read(kind, event)
        ends = kind in _ENDS
        if ends:
            self._response = response if isinstance(response, dict) else {}
            self._envelope = self._response or self._envelope
            event = {**event, "response": self._response}
        self._pass(self._cut(event) if self._cut is not None else event, ends=ends)

    def _read(self, kind: Any, event: dict[str, Any]) -> None:
        """Read what an event says of the answer."""
        if kind == "response.output_text.delta":
            self._grow(event)
        elif kind == "response.output_item.done":
            self._items.append(event.get("item"))
        elif kind in ("response.output_item.added", "response.refusal.delta") and not _is_words(event):
            self._early = None  # a call or a refusal is no answer: its end must be seen
        elif not (isinstance(kind, str) and kind.startswith(_KNOWN)):
            self._unknown = self._unknown or f"an event of the unknown type {str(kind)[:40]!r}"

    def _grow(self, event: dict[str, Any]) -> None:
        """Read a piece of the text."""
        delta = event.get("delta")
        if not isinstance(delta, str):
            self._unreadable, self._early = "the stream has a delta that is not text", None
            return
        self._texts.append(delta)
        tokens = wire.tokens_of(event.get("logprobs"), self._ask)
        if isinstance(tokens, Unmeasured):
            self._malformed, self._early = tokens, None
            return
        self._tokens += tokens
        if self._early is None or not (tokens or delta):
            return
        logprobs = [token.logprob for token in tokens if token.token]
        if (
            "".join(token.token for token in tokens) != delta
            or None in logprobs
            or self._marks.found_in(delta)
        ):
            self._early = None  # a prefix can be judged only if each event's tokens are its text
        else:
            self._early.add(logprobs)  # type: ignore[arg-type] # without None, as was just seen

    def _pass(self, event: dict[str, Any], *, ends: bool) -> None:
        """Pass an event on, except for the last one, which will carry the verdict."""
        if ends:
            self._last.append(event)
        else:
            self._written.append(sse.named_event(event))

    @property
    def pending(self) -> int:
        """Return the number of bytes of the event that is not complete yet."""
        return self._events.pending

    @property
    def settled(self) -> bool:
        """Return whether the answer is withheld, whatever comes."""
        return self._early is not None and self._early.settled and self._response is None

    def completion(self) -> Completion:
        """Return the completion that was read; raises UpstreamCut if the stream ended before its answer did."""
        if self._response is None and not self.settled:
            self._finish_reading()
        response = self._response
        if response is None:
            return wire.completion_of(self._envelope, self._ask, output=self._grown())
        return wire.completion_of(response, self._ask, output=self._output())

    def _output(self) -> wire.Output | None:
        """Return what the stream says: the items of its last event, which must be the text that was streamed.

        Some servers leave the items out of the last event: then those of the events before it count.
        """
        items = self._all_items()
        if items:
            output = wire.read_output(items)
        elif self._texts or self._unreadable:
            output = self._grown()
        elif self._unknown is not None and self._hold:
            return wire.Output(unreadable=f"the stream has no text, but {self._unknown}")
        else:
            return None
        if self._texts and "".join(self._texts) != output.text:
            return output._replace(unreadable="the stream says another text than its last event")
        if not (output.text or output.calls or output.refusal) and self._unknown is not None:
            output = output._replace(unreadable=f"the stream has no text, but {self._unknown}")
        return output._replace(unreadable=output.unreadable or self._unreadable)

    def _all_items(self) -> list[Any]:
        """Return the items of the last event, or those that the stream completed one by one."""
        items = (self._response or {}).get("output")
        return items if isinstance(items, list) and items else self._items

    def _grown(self) -> wire.Output:
        """Return what the pieces of the text say."""
        tokens = msgspec.json.decode(msgspec.json.encode(self._tokens))  # decoded again as in a whole answer
        logprobs = "malformed" if self._malformed is not None else tokens
        return wire.Output("".join(self._texts), [logprobs], unreadable=self._unreadable)

    def _finish_reading(self) -> None:
        """Read an event that the stream's end left incomplete."""
        try:
            for payload in self._events.rest():
                if payload != sse.DONE and self._response is None:
                    self._take(payload)
        except UpstreamGarbage as exc:
            raise UpstreamCut("the upstream's stream ended inside an event") from exc
        if self._response is None:
            raise UpstreamCut("the upstream's stream ended before its answer did")

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        """Return the rest of the stream, with ``idk`` in the response of its last event."""
        replaced = bool(verdict.withheld or verdict.without_thoughts)
        events = self._replaced(verdict, cancelled=cancelled) if replaced else self._last
        response, extra = {**events[-1]["response"], "idk": verdict.report}, verdict.report.extra
        if extra.calls and isinstance(response.get("usage"), dict):
            response["usage"] = counted(response["usage"], extra)
        last = {**events[-1], "response": response}
        return b"".join([*([] if replaced else self._written), *map(sse.named_event, [*events[:-1], last])])

    def _replaced(self, verdict: Verdict, *, cancelled: bool) -> list[dict[str, Any]]:
        """Return the events of an abstention, or of the answer without its thoughts."""
        text = verdict.abstain_text
        json_answer = self._request.json_answer
        if not verdict.withheld:
            text, json_answer = thoughts.visible(self._text()).text or "", False
        response = wire.withheld_response(self._envelope, self._request, text, json_answer=json_answer)
        if not verdict.withheld:
            response["id"] = self._envelope.get("id")
            response["output"] += [item for item in self._all_items() if wire.is_call(item)]
        if cancelled:
            response.pop("usage", None)  # the upstream was cancelled before it counted
        return [{**event, "sequence_number": number} for number, event in enumerate(wire.events_of(response))]

    def _text(self) -> str:
        """Return the text of the whole answer."""
        output = None if self._response is None else self._output()
        return "".join(self._texts) if output is None else output.text


def _decoded(payload: bytes) -> dict[str, Any] | None:
    """Decode an event; None if it is not an object."""
    check_stream_event(payload)
    try:
        event = msgspec.json.decode(payload)
    except UNREADABLE:
        event = msgspec.json.decode(strict_json(payload))
    return event if isinstance(event, dict) else None


def _is_words(event: dict[str, Any]) -> bool:
    """Return whether an event adds a message or thoughts."""
    item = event.get("item")
    return isinstance(item, dict) and item.get("type") in ("message", "reasoning")
