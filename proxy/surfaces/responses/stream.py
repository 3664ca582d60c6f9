"""OpenAI's responses as an event stream: read for the gate, held or flowing, ended with the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gating.types import Evidence, Unmeasured
from proxy.exceptions import UNREADABLE, UpstreamCut, UpstreamGarbage
from proxy.server.bodies import check_stream_event
from proxy.surfaces import sse
from proxy.surfaces.chat.wire import tokens_evidence
from proxy.surfaces.contract import Choice, Completion
from proxy.surfaces.identity import text_of
from proxy.surfaces.json_bytes import strict_json
from proxy.surfaces.responses import wire
from proxy.surfaces.usage import counted
from proxy.surfaces.vendor_errors import stream_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.surfaces.chat import wire as chat
    from proxy.surfaces.contract import Ask, Request, Verdict, Watch

#: The last events hold the whole answer; ten megabytes of it are no event.
_EVENT_LIMIT: Final = 10_000_000
#: What ends a stream.
_ENDS: Final = ("response.completed", "response.incomplete")


class ResponsesStream:
    """Reads one stream. While holding nothing is given back before ``finish``; else only the end waits."""

    def __init__(self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None) -> None:
        self._request = request
        self._ask = ask
        self._hold = hold
        self._watch = watch() if watch else None
        self._cut = wire.for_client(request, ask)
        self._events = sse.Splitter(_EVENT_LIMIT)
        self._texts: list[str] = []
        self._tokens: list[chat.Token] = []
        self._envelope: dict[str, Any] = {}
        self._response: wire.ResponseObject | None = None
        #: Written already: a hundred thousand events as objects would keep the garbage collector busy.
        self._written: list[bytes] = []
        self._last: list[dict[str, Any]] = []

    def feed(self, data: bytes) -> bytes:
        """Take what came; give back what may go to the client now."""
        for payload in self._events.feed(data):
            if payload != sse.DONE and self._response is None:
                self._take(payload)
        if self._hold:
            return b""
        written, self._written = self._written, []
        return b"".join(written)

    def _take(self, payload: bytes) -> None:
        event = _read(payload)
        kind = event.get("type")
        if kind in ("error", "response.failed"):
            raise stream_error(
                event if event.get("type") == "error" else (event.get("response") or {}).get("error")
            )
        if isinstance(event.get("response"), dict) and not self._envelope:
            self._envelope = event["response"]
        if kind == "response.output_text.delta":
            self._grow(event)
        elif kind in ("response.output_item.added", "response.refusal.delta") and not _is_words(event):
            self._watch = None  # a call or a refusal is no answer: its end must be seen
        ends = kind in _ENDS
        if ends:
            self._response = _response(event)
            self._envelope = event["response"]
        self._pass(self._cut(event) if self._cut is not None else event, ends=ends)

    def _grow(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        if not isinstance(delta, str):
            raise UpstreamGarbage("the upstream's stream has a delta that is no text")
        self._texts.append(delta)
        tokens = wire.tokens_of(event.get("logprobs"), self._ask)
        if isinstance(tokens, Unmeasured):
            self._watch = None
            return
        self._tokens += tokens
        if self._watch is None or not (tokens or delta):
            return
        logprobs = [token.logprob for token in tokens if token.token]
        if "".join(token.token for token in tokens) != delta or None in logprobs:
            self._watch = None  # only where each event's tokens are its text can a prefix be read
        else:
            self._watch.add(logprobs)  # type: ignore[arg-type] # without None, as was just seen

    def _pass(self, event: dict[str, Any], *, ends: bool) -> None:
        if ends:
            self._last.append(event)
        else:
            self._written.append(_event(event))

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended yet."""
        return self._events.pending

    @property
    def settled(self) -> bool:
        """Whether the answer cannot pass any more."""
        return self._watch is not None and self._watch.settled and self._response is None

    def completion(self) -> Completion:
        """All that was read; raises UpstreamCut where the stream ended before its answer did."""
        if self._response is None and not self.settled:
            self._finish_reading()
        response = self._response
        if response is None:
            evidence = self._evidence()
            id_, model = (text_of(self._envelope.get(name)) for name in ("id", "model"))
            return Completion((Choice(0, evidence),), None, None, id=id_, model=model)
        usage = response.usage
        return Completion(
            choices=(wire.choice_of(response, self._ask),),
            prompt_tokens=usage.input_tokens if usage else None,
            completion_tokens=usage.output_tokens if usage else None,
            id=response.id,
            model=text_of(response.model),
        )

    def _finish_reading(self) -> None:
        try:
            for payload in self._events.rest():
                self._take(payload)
        except UpstreamGarbage as exc:
            raise UpstreamCut("the upstream's stream ended inside an event") from exc
        if self._response is None:
            raise UpstreamCut("the upstream's stream ended before its answer did")

    def _evidence(self) -> Evidence:
        return tokens_evidence("".join(self._texts), self._tokens, alternatives=self._ask.alternatives)

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        """The rest of the stream, ``idk`` in the response of its last event."""
        withheld = bool(verdict.withheld)
        events = self._withheld(verdict, cancelled=cancelled) if withheld else self._last
        response, extra = {**events[-1]["response"], "idk": verdict.report}, verdict.report.extra
        if extra.calls and isinstance(response.get("usage"), dict):
            response["usage"] = counted(response["usage"], extra)
        last = {**events[-1], "response": response}
        return b"".join([*([] if withheld else self._written), *map(_event, [*events[:-1], last])])

    def _withheld(self, verdict: Verdict, *, cancelled: bool) -> list[dict[str, Any]]:
        response = wire.withheld_response(
            self._envelope, verdict.abstain_text, json_answer=self._request.json_answer
        )
        if cancelled:
            response.pop("usage", None)  # what a cancelled upstream would have counted is not known
        return [
            {**event, "sequence_number": number}
            for number, event in enumerate(wire.abstention_events(response))
        ]


def _read(payload: bytes) -> dict[str, Any]:
    check_stream_event(payload)
    try:
        event = msgspec.json.decode(payload)
    except UNREADABLE:
        event = msgspec.json.decode(strict_json(payload))
    if not isinstance(event, dict):
        raise UpstreamGarbage("the upstream's stream has an event that is no object")
    return event


def _response(event: dict[str, Any]) -> wire.ResponseObject:
    try:
        return msgspec.convert(event.get("response"), wire.ResponseObject)
    except msgspec.ValidationError as exc:
        raise UpstreamGarbage(f"the upstream's answer has an unexpected form: {exc}") from exc


def _is_words(event: dict[str, Any]) -> bool:
    item = event.get("item")
    return isinstance(item, dict) and item.get("type") in ("message", "reasoning")


def _event(event: dict[str, Any]) -> bytes:
    return b"event: " + str(event.get("type")).encode() + b"\n" + sse.event(msgspec.json.encode(event))
