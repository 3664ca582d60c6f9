"""OpenAI's chat completions as an event stream: read for the gate, held or flowing, ended with the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

import msgspec
from msgspec import Raw

from gating.types import Evidence, Unmeasured
from proxy.exceptions import UpstreamCut, UpstreamGarbage
from proxy.surfaces import sse
from proxy.surfaces.chat import wire
from proxy.surfaces.contract import Choice, Completion
from proxy.surfaces.identity import head_of
from proxy.surfaces.json_bytes import with_field
from proxy.surfaces.usage import with_usage
from proxy.surfaces.vendor_errors import stream_error

if TYPE_CHECKING:
    from proxy.surfaces.contract import Ask, Extra, Request, Verdict, Watch

#: One event holds a few tokens; a megabyte of them is no event.
_EVENT_LIMIT = 1_000_000
_NULL = Raw(b"null")
Readers: TypeAlias = Mapping[bool, Callable[[bytes], tuple[wire.Chunk[wire.Read], bytes]]]
_READ: Final[Readers] = {asked: wire.Decoder(wire.Chunk, kind=kind) for asked, kind in wire.KINDS.items()}


@dataclass(slots=True)
class _Growing:
    """One choice as it grows."""

    watch: Watch | None
    texts: list[str] = field(default_factory=list)
    tokens: list[wire.Token] = field(default_factory=list)
    malformed: Unmeasured | None = None
    finish_reason: str | None = None
    tool_call: bool = False
    refusal: bool = False
    #: The arguments of each call as they grow, by its number.
    arguments: dict[int, str] = field(default_factory=dict)

    def add(self, choice: wire.ChunkChoice[wire.Read]) -> None:
        delta = choice.delta
        text = delta.content
        if text:
            self.texts.append(text)
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        if delta.calls_a_tool:
            self._call(delta)
        self.refusal = self.refusal or bool(delta.refusal)
        logprobs = choice.logprobs
        if isinstance(logprobs, Unmeasured):
            self.malformed, self.watch = logprobs, None
            return
        tokens = (logprobs and logprobs.content) or []
        for token in tokens:
            if token.token == text:
                token.bytes = _NULL  # not needed, and unread they keep the chunk's in memory
        self.tokens += tokens
        if self.watch is not None:
            self._follow(self.watch, text or "", tokens)

    def _call(self, delta: wire.Message) -> None:
        self.tool_call = True
        calls = delta.tool_calls if isinstance(delta.tool_calls, list) else [{}]
        for call, arguments in zip(calls, delta.arguments, strict=False):
            number = call.get("index") if isinstance(call, dict) else None
            number = number if isinstance(number, int) else 0
            self.arguments[number] = self.arguments.get(number, "") + arguments

    def _follow(self, watch: Watch, text: str, tokens: list[wire.Token]) -> None:
        """Only where each chunk's tokens are its text can a prefix be read without seeing the whole."""
        if not tokens and not text:
            return
        logprobs = [token.logprob for token in tokens if token.token]  # an end-of-turn token shows no text
        if "".join(token.token for token in tokens) != text or None in logprobs:
            self.watch = None
        else:
            watch.add(logprobs)  # type: ignore[arg-type] # without None, as was just seen

    @property
    def settled(self) -> bool:
        return self.watch is not None and self.watch.settled and not self.tool_call and not self.refusal

    def choice(self, index: int, ask: Ask) -> Choice:
        text, words = "".join(self.texts), None
        if self.tool_call and ask.gate_tools:
            read = wire.Logprobs(content=self.tokens) if self.malformed is None else self.malformed
            words = wire.words_evidence(text, read, alternatives=ask.alternatives) if text else None
            evidence = wire.calls_evidence([said for _, said in sorted(self.arguments.items())], read)
        elif self.malformed is not None:
            evidence = Evidence(text, token_logprobs=self.malformed)
        else:
            evidence = wire.tokens_evidence(text, self.tokens, alternatives=ask.alternatives)
        return Choice(
            index=index,
            evidence=evidence,
            finish_reason=self.finish_reason,
            tool_call=self.tool_call,
            refusal=self.refusal and not text,
            words=words,
        )


class ChatStream:
    """Reads one stream. While holding nothing is given back before ``finish``; else only the end waits."""

    #: What reads an event, by whether the alternatives of each token are needed.
    readers: ClassVar[Readers] = _READ
    for_client = staticmethod(wire.for_client)

    def __init__(self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None) -> None:
        self._request = request
        self._hold = hold
        self._watch = watch
        self._ask = ask
        self._for_client = self.for_client(request, ask)
        self._read = self.readers[ask.alternatives > 0]
        #: The usage was asked for by the proxy alone: its chunk is not the client's.
        self._hides_usage = ask.usage and not request.include_usage
        self._events = sse.Splitter(_EVENT_LIMIT)
        self._growing: dict[int, _Growing] = {}
        self._flowing: list[bytes] = []
        self._waiting: list[bytes] = []
        self._usage: wire.Usage | None = None
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """Take what came; give back what may go to the client now."""
        for payload in self._events.feed(data):
            self._take(payload)
        flowing, self._flowing = self._flowing, []
        return b"".join(map(sse.event, flowing))

    def _take(self, payload: bytes) -> None:
        if self._done:
            return
        if payload == sse.DONE:
            self._done = True
            return
        chunk, payload = self._read(payload)
        if chunk.error is not None:
            raise stream_error(chunk.error)
        ends = not chunk.choices
        for choice in chunk.choices:
            self._growing_choice(choice.index).add(choice)
            ends = ends or choice.finish_reason is not None
        if chunk.usage is not None:
            self._usage = chunk.usage
            if self._hides_usage and not chunk.choices:
                return
        if self._for_client is not None:
            payload = self._for_client(payload)
        self._pass(payload, ends=ends)

    def _growing_choice(self, index: int) -> _Growing:
        growing = self._growing.get(index)
        if growing is None:
            if len(self._growing) >= self._request.n:
                raise UpstreamGarbage("the upstream's stream has more choices than were asked for")
            growing = self._growing[index] = _Growing(self._watch() if self._watch else None)
        return growing

    def _pass(self, payload: bytes, *, ends: bool) -> None:
        """Let an event flow; the last one waits for the verdict, which it carries."""
        if self._hold:
            self._waiting.append(payload)
            return
        self._flowing += self._waiting
        self._waiting.clear()
        (self._waiting if ends else self._flowing).append(payload)

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended yet."""
        return self._events.pending

    @property
    def settled(self) -> bool:
        """Whether every choice that was asked for has come and none can pass any more."""
        return (
            self._watch is not None
            and len(self._growing) == self._request.n
            and all(growing.settled for growing in self._growing.values())
        )

    def completion(self) -> Completion:
        """All that was read; raises UpstreamCut where the stream ended before each choice did."""
        if not self._done and not self.settled:
            try:
                for payload in self._events.rest():
                    self._take(payload)
            except UpstreamGarbage as exc:
                raise UpstreamCut("the upstream's stream ended inside an event") from exc
            if not self._growing or any(g.finish_reason is None for g in self._growing.values()):
                raise UpstreamCut("the upstream's stream ended before its answer did")
        usage = self._usage
        id_, model = head_of(self._waiting[0]) if self._waiting else (None, None)
        return Completion(
            choices=tuple(
                growing.choice(index, self._ask) for index, growing in sorted(self._growing.items())
            ),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            id=id_,
            model=model,
        )

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        """The rest of the stream, ``idk`` in its last chunk."""
        payloads = self._withhold(verdict, cancelled=cancelled) if verdict.withheld else self._waiting
        if not payloads:
            payloads = [msgspec.json.encode({**self._envelope(), "choices": []})]
        if verdict.report.extra.calls:
            payloads = _paid(payloads, verdict.report.extra)
        last = with_field(payloads[-1], b"idk", msgspec.json.encode(verdict.report))
        return b"".join(map(sse.event, [*self._flowing, *payloads[:-1], last, sse.DONE]))

    def _withhold(self, verdict: Verdict, *, cancelled: bool) -> list[bytes]:
        """The held events without the withheld choices, and in their place the abstentions."""
        envelope = self._envelope()
        kept: list[bytes] = []
        tail: list[bytes] = []
        for payload in self._waiting:
            fields = msgspec.json.decode(payload, type=dict[str, Raw])
            choices = msgspec.json.decode(fields.get("choices", b"[]"), type=list[dict[str, Raw]])
            served = [
                choice
                for choice in choices
                if msgspec.json.decode(choice.get("index", b"0")) not in verdict.withheld
            ]
            if served:
                kept.append(msgspec.json.encode({**_envelope(fields), "choices": served}))
            elif not choices or fields.get("usage", _NULL) != _NULL:
                tail.append(msgspec.json.encode({**_envelope(fields), "choices": []}))
        for index in sorted(verdict.withheld):
            kept += self._abstention(envelope, index, verdict.abstain_text)
        if cancelled and self._request.include_usage:
            # What a cancelled upstream would have counted is not known: unknown is not zero.
            tail.append(msgspec.json.encode({**envelope, "choices": [], "usage": None}))
        return kept + tail

    def _abstention(self, envelope: dict[str, Raw], index: int, text: str) -> list[bytes]:
        words = wire.abstention(index, text, json_answer=self._request.json_answer)
        start = {"index": index, "delta": words["message"], "logprobs": None, "finish_reason": None}
        end = {"index": index, "delta": {}, "logprobs": None, "finish_reason": "stop"}
        return [msgspec.json.encode({**envelope, "choices": [part]}) for part in (start, end)]

    def _envelope(self) -> dict[str, Raw]:
        if not self._waiting:
            return {}
        fields = _envelope(msgspec.json.decode(self._waiting[0], type=dict[str, Raw]))
        fields.pop("usage", None)
        return fields


def _envelope(fields: dict[str, Raw]) -> dict[str, Raw]:
    return {name: fields[name] for name in wire.ENVELOPE if name in fields}


def _paid(payloads: list[bytes], extra: Extra) -> list[bytes]:
    """The payloads, the last usage among them counting ``extra`` too."""
    for place in range(len(payloads) - 1, -1, -1):
        counted = with_usage(payloads[place], extra)
        if counted is not payloads[place]:
            return [*payloads[:place], counted, *payloads[place + 1 :]]
    return payloads
