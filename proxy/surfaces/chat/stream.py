"""Chat completions as an event stream: read for the gate, held or passed on, and ended with the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import Raw

from gating.types import Unmeasured
from proxy.exceptions import UpstreamCut, UpstreamGarbage
from proxy.surfaces import sse, thoughts
from proxy.surfaces.answer_fields import counts, envelope, head_of, value_of, with_usage
from proxy.surfaces.chat import wire
from proxy.surfaces.choices import (
    CHAT_LOGPROBS,
    EVENT_LIMIT,
    AnswerDecoder,
    completion_of,
    loose,
    loose_choices,
    loose_fields,
    loose_index,
    loose_logprobs,
    loose_reason,
)
from proxy.surfaces.json_bytes import with_field
from proxy.surfaces.tokens import LOGPROB_TYPES, Logprobs, ReadLogprobs, Token
from proxy.surfaces.vendor_errors import stream_error

if TYPE_CHECKING:
    from proxy.surfaces.contract import Ask, Choice, Completion, EarlyVerdict, Extra, Request, Verdict

_NULL: Final = Raw(b"null")
#: The fields of a delta that hold tool calls.
_CALLS: Final = frozenset({"tool_calls", "function_call"})
#: Values of ``error`` in chunks of servers that did not fail.
_NO_ERROR: Final = (None, "", False)
_CUT: Final = "the upstream's stream ended before its answer did"


#: Reads one event of a stream. Returns it, its payload without NaN and Infinity, and why the text of a choice (by its
#: index) could not be read.
ChunkReader: TypeAlias = Callable[[bytes], tuple[wire.Chunk[Any], bytes, Mapping[int, str]]]
#: What a reader returns if the text of every choice could be read.
ALL_READ: Final[Mapping[int, str]] = MappingProxyType({})


def _chunk_reader(ranked: bool) -> ChunkReader:
    """Return the reader of a chat's chunks; ``ranked`` if the alternatives of each token are needed."""
    kind = LOGPROB_TYPES[ranked]
    typed: AnswerDecoder[wire.Chunk[Any]] = AnswerDecoder(wire.Chunk[kind])  # type: ignore[valid-type] # a type in a variable
    logprobs = CHAT_LOGPROBS[ranked]

    def read(payload: bytes) -> tuple[wire.Chunk[Any], bytes, Mapping[int, str]]:
        chunk, payload = typed(payload)
        if chunk is not None:
            return chunk, payload, ALL_READ
        chunk, unreadable = _read_loosely(payload, logprobs)
        return chunk, payload, unreadable

    return read


def _read_loosely(
    payload: bytes, logprobs: msgspec.json.Decoder[ReadLogprobs]
) -> tuple[wire.Chunk[Any], Mapping[int, str]]:
    """Read a chunk of which some value has an unexpected type."""
    chunk = loose(payload)
    unreadable: dict[int, str] = {}
    choices: list[wire.ChunkChoice[Any]] = []
    for choice in loose_choices(chunk):
        index = loose_index(choice.get("index"), 0)
        delta, why = wire.loose_message(choice, "delta")
        if why is not None:
            unreadable[index] = why
        reason = loose_reason(choice.get("finish_reason"))
        choices.append(
            wire.ChunkChoice(index, delta, reason, loose_logprobs(choice.get("logprobs"), logprobs))
        )
    read = wire.Chunk(choices, value_of(chunk.usage), value_of(chunk.error), value_of(chunk.object))
    return read, unreadable


@dataclass(slots=True)
class _Growing:
    """One choice as it grows."""

    early: EarlyVerdict | None
    texts: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    malformed: Unmeasured | None = None
    finish_reason: str | None = None
    refusal: bool = False
    unreadable: str | None = None
    numbers: wire.CallNumbers | None = None
    #: The tool calls as they grow, by their numbers.
    calls: dict[int, wire.Call] = field(default_factory=dict)
    marks: thoughts.MarkFinder = field(default_factory=thoughts.MarkFinder)

    def add(self, choice: wire.ChunkChoice[ReadLogprobs]) -> None:
        """Add one chunk's part."""
        delta = choice.delta
        text = delta.content
        if text:
            self.texts.append(text)
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        if delta.tool_calls or delta.function_call:
            self._call(wire.calls_of(delta))
        if delta.refusal:
            self.refusal = True
        logprobs = choice.logprobs
        if isinstance(logprobs, Unmeasured):
            self.malformed, self.early = logprobs, None
            return
        tokens = (logprobs and logprobs.content) or []
        for token in tokens:
            if token.token == text:
                token.bytes = _NULL  # they are not needed, and undecoded they keep the chunk in memory
        self.tokens += tokens
        if self.early is not None:
            self._follow(self.early, text or "", tokens)

    def doubt(self, why: str) -> None:
        """Note why a part of the choice's text could not be read."""
        self.unreadable, self.early = self.unreadable or why, None

    def _call(self, calls: Sequence[wire.Call] | str | None) -> None:
        """Add pieces of tool calls."""
        if isinstance(calls, str):
            self.doubt(calls)
            return
        if self.numbers is None:
            self.numbers = wire.CallNumbers()
        for call in calls or ():
            number = self.numbers.number(call)
            known = self.calls.get(number)
            self.calls[number] = (
                call
                if known is None
                else known._replace(
                    arguments=known.arguments + call.arguments,
                    names_function=known.names_function or call.names_function,
                )
            )

    def _follow(self, early: EarlyVerdict, text: str, tokens: list[Token]) -> None:
        """Give the tokens to the early verdict, which needs each chunk's tokens to be its text, and no thoughts."""
        if not tokens and not text:
            return
        logprobs = [token.logprob for token in tokens if token.token]  # an end-of-turn token shows no text
        if "".join(token.token for token in tokens) != text or None in logprobs or self.marks.found_in(text):
            self.early = None
        else:
            early.add(logprobs)  # type: ignore[arg-type] # without None, as was just seen

    @property
    def settled(self) -> bool:
        """Return whether the choice is withheld, whatever comes."""
        return self.early is not None and self.early.settled and not self.calls and not self.refusal

    def choice(self, index: int, ask: Ask, hidden: str | None) -> Choice:
        """Return the choice that was read; ``hidden`` says where text may be that was not read."""
        said = wire.Said(
            "".join(self.texts),
            [call for _, call in sorted(self.calls.items())] if self.calls else None,
            self.refusal,
            self.unreadable or hidden,
        )
        read = Logprobs(content=self.tokens) if self.malformed is None else self.malformed
        return wire.choice_of(said, read, ask, index=index, finish_reason=self.finish_reason)

    @property
    def says_nothing(self) -> bool:
        """Return whether neither text nor a call nor a refusal was found."""
        return not (any(self.texts) or self.calls or self.refusal or self.unreadable)


class ChatStream:
    """Reads one stream. While it holds, ``feed`` returns nothing; else only the end of the stream is kept back."""

    #: The reader of an event, by whether the alternatives of each token are needed.
    readers: ClassVar[Mapping[bool, ChunkReader]] = {
        ranked: _chunk_reader(ranked) for ranked in (False, True)
    }
    for_client = staticmethod(wire.for_client)
    #: The value of ``object`` in a chunk.
    kind: ClassVar[str] = "chat.completion.chunk"

    def __init__(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], EarlyVerdict] | None
    ) -> None:
        self._request = request
        self._hold = hold
        self._watch = watch
        self._ask = ask
        self._for_client = self.for_client(request, ask)
        self._read = self.readers[ask.alternatives > 0]
        #: Whether only the proxy asked for the usage: the client does not get its chunk then.
        self._hides_usage = ask.usage and not request.include_usage
        self._events = sse.Splitter(EVENT_LIMIT)
        self._growing: dict[int, _Growing] = {}
        self._flowing: list[bytes] = []
        self._waiting: list[bytes] = []
        self._usage: Any = None
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """Read ``data`` and return what may be sent to the client now."""
        for payload in self._events.feed(data):
            self._take(payload)
        flowing, self._flowing = self._flowing, []
        return b"".join(map(sse.event, flowing))

    def _take(self, payload: bytes) -> None:
        """Read one event."""
        if self._done:
            return
        if payload == sse.DONE:
            self._done = True
            return
        chunk, payload, unreadable = self._read(payload)
        if chunk.error not in _NO_ERROR or chunk.object == "error":
            raise stream_error(chunk.error or value_of(payload))
        ends = not chunk.choices
        for choice in chunk.choices:
            self._growing_choice(choice.index).add(choice)
            ends = ends or bool(choice.finish_reason)
        for index, why in unreadable.items():
            self._growing[index].doubt(why)
        if chunk.usage is not None:
            self._usage = chunk.usage
            if self._hides_usage and not chunk.choices:
                return
        if self._for_client is not None:
            payload = self._for_client(payload)
        self._pass(payload, ends=ends)

    def _growing_choice(self, index: int) -> _Growing:
        """Return the choice of this index, a new one if it has not been seen."""
        growing = self._growing.get(index)
        if growing is None:
            if len(self._growing) >= self._request.n and self._hold:
                raise UpstreamGarbage("the upstream's stream has more choices than were asked for")
            growing = self._growing[index] = _Growing(self._watch() if self._watch else None)
        return growing

    def _pass(self, payload: bytes, *, ends: bool) -> None:
        """Pass an event on, except for the last one, which will carry the verdict."""
        if self._hold:
            self._waiting.append(payload)
            return
        self._flowing += self._waiting
        self._waiting.clear()
        (self._waiting if ends else self._flowing).append(payload)

    @property
    def pending(self) -> int:
        """Return the number of bytes of the event that is not complete yet."""
        return self._events.pending

    @property
    def settled(self) -> bool:
        """Return whether every choice that was asked for has come and is withheld, whatever comes."""
        return (
            self._watch is not None
            and len(self._growing) == self._request.n
            and all(growing.settled for growing in self._growing.values())
        )

    def completion(self) -> Completion:
        """Return the completion that was read; raises UpstreamCut if the stream ended before each choice did."""
        if not self._done and not self.settled:
            try:
                for payload in self._events.rest():
                    self._take(payload)
            except UpstreamGarbage as exc:
                raise UpstreamCut("the upstream's stream ended inside an event") from exc
            if not self._done and (
                not self._growing or any(g.finish_reason is None for g in self._growing.values())
            ):
                raise UpstreamCut(_CUT)
        choices = [
            growing.choice(index, self._ask, self._hidden(index) if growing.says_nothing else None)
            for index, growing in sorted(self._growing.items())
        ]
        usage = msgspec.json.encode(self._usage)
        return completion_of(choices, Raw(usage), b"", self._identity())

    def _identity(self) -> tuple[str | None, str | None]:
        """Return the id and the model of the answer; the first chunk may have neither (Azure)."""
        id_ = model = None
        for payload in self._waiting:
            found = head_of(payload)
            id_, model = id_ or found[0], model or found[1]
            if id_ and model:
                break
        return id_, model

    def _hidden(self, index: int) -> str | None:
        """Return where text of an apparently empty choice may be, as far as its events were held."""
        for payload in self._waiting:
            for choice in loose_choices(loose(payload)):
                if (
                    loose_index(choice.get("index"), 0) == index
                    and (found := self._unread(choice)) is not None
                ):
                    return found
        return None

    def _unread(self, choice: Mapping[str, Raw]) -> str | None:
        """Return where a choice of a chunk may hold text that is not read."""
        return wire.loose_message(choice, "delta")[1]

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        """Return the rest of the stream, with ``idk`` in its last chunk."""
        if verdict.withheld or verdict.without_thoughts:
            payloads = self._changed(verdict, cancelled=cancelled)
        else:
            payloads = self._waiting
        if not payloads:
            payloads = [msgspec.json.encode({**self._envelope(), "choices": []})]
        if verdict.report.extra.calls:
            payloads = _paid(payloads, verdict.report.extra)
        last = with_field(payloads[-1], b"idk", msgspec.json.encode(verdict.report))
        return b"".join(map(sse.event, [*self._flowing, *payloads[:-1], last, sse.DONE]))

    def _changed(self, verdict: Verdict, *, cancelled: bool) -> list[bytes]:
        """Return the events with abstentions for the withheld choices, and with served choices without thoughts."""
        shared = self._envelope()
        payloads: list[bytes] = []
        for payload in self._waiting:
            served = [
                choice
                for choice in loose_choices(loose(payload))
                if loose_index(choice.get("index"), 0) not in verdict.withheld | verdict.without_thoughts
            ]
            if served:
                payloads.append(msgspec.json.encode({**shared, "choices": served}))
        for index in sorted(verdict.without_thoughts):
            payloads += self._rebuilt(shared, index)
        for index in sorted(verdict.withheld):
            payloads += self._abstention(shared, index, verdict.abstain_text)
        usage = self._last_usage()
        if cancelled and self._request.include_usage:
            # The upstream was cancelled before it counted: unknown is not zero.
            payloads.append(msgspec.json.encode({**shared, "choices": [], "usage": None}))
        elif usage and not self._hides_usage:
            payloads.append(msgspec.json.encode({**shared, "choices": [], "usage": usage}))
        return payloads

    def _last_usage(self) -> dict[str, Any]:
        """Return the token counts of the last event that has any."""
        return next(
            (found for payload in reversed(self._waiting) if (found := counts(loose(payload).usage))), {}
        )

    def _rebuilt(self, shared: Mapping[str, Any], index: int) -> list[bytes]:
        """Return the chunks of a served choice without the thoughts in its text."""
        said = {"role": "assistant", "content": self._visible(index)}
        start = {"index": index, "delta": said, "logprobs": None, "finish_reason": None}
        calls = [
            {**start, "delta": {name: delta[name] for name in _CALLS if name in delta}}
            for payload in self._waiting
            for choice in loose_choices(loose(payload))
            if loose_index(choice.get("index"), 0) == index
            and (delta := loose_fields(choice.get("delta", _NULL))).keys() & _CALLS
        ]
        end = {**start, "delta": {}, "finish_reason": self._reason(index)}
        return [msgspec.json.encode({**shared, "choices": [part]}) for part in (start, *calls, end)]

    def _visible(self, index: int) -> str:
        """Return the text of a choice without thoughts."""
        return thoughts.visible("".join(self._growing[index].texts)).text or ""

    def _reason(self, index: int) -> str:
        """Return the finish reason of a choice."""
        return self._growing[index].finish_reason or "stop"

    def _abstention(self, shared: Mapping[str, Any], index: int, text: str) -> list[bytes]:
        """Return the chunks of an abstention."""
        words = wire.abstention(index, text, json_answer=self._request.json_answer)
        start = {"index": index, "delta": words["message"], "logprobs": None, "finish_reason": None}
        end = {"index": index, "delta": {}, "logprobs": None, "finish_reason": "stop"}
        return [msgspec.json.encode({**shared, "choices": [part]}) for part in (start, end)]

    def _envelope(self) -> dict[str, Any]:
        """Return the fields around the choices of a chunk that is built here."""
        return envelope((loose_fields(Raw(payload)) for payload in self._waiting), self.kind)


def _paid(payloads: list[bytes], extra: Extra) -> list[bytes]:
    """Return the payloads with ``extra`` added to the last usage among them."""
    for place in range(len(payloads) - 1, -1, -1):
        counted = with_usage(payloads[place], extra)
        if counted is not payloads[place]:
            return [*payloads[:place], counted, *payloads[place + 1 :]]
    return payloads
