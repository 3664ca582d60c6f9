"""A surface for an upstream that speaks chat completions only: requests are translated, and gated answers back.

Everything that decides (holding, abstentions, logprobs) happens in the format of a chat. A translation is a pure
function of what the chat's surface would have sent to its client, so that it cannot send anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict, cast

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE, UpstreamGarbage
from proxy.server.bodies import check_utf8, encode
from proxy.surfaces import sse
from proxy.surfaces.answer_fields import ABSENT, counts, is_count, text_of, value_of
from proxy.surfaces.chat.surface import Chat
from proxy.surfaces.chat.wire import loose_message
from proxy.surfaces.choices import EVENT_LIMIT, loose, loose_choices, loose_fields, loose_reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import (
        Ask,
        Completion,
        EarlyVerdict,
        Edit,
        Request,
        StreamReader,
        Translator,
        Verdict,
    )


class Translation(Protocol):
    """The translation between one format and chat completions."""

    name: str
    path: str

    def to_chat(self, body: bytes) -> dict[str, Any]:
        """Translate a client's body; raises BadRequest."""
        ...

    def from_chat(self, answer: dict[str, Any], request: Request) -> dict[str, Any]:
        """Translate a chat's answer with its ``idk``."""
        ...

    def events(self, request: Request) -> EventTranslation:
        """Return what translates one stream."""
        ...

    def error(self, exc: HttpError) -> bytes:
        """Encode an error in this format."""
        ...

    def error_event(self, exc: HttpError) -> bytes:
        """Encode an error as an event of a stream."""
        ...


class EventTranslation(Protocol):
    """Translates one stream, event by event."""

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        """Return the events for one chunk of a chat."""
        ...

    def done(self) -> bytes:
        """Return the events that end the stream."""
        ...


#: A value that is neither an object nor a list.
_Scalar: TypeAlias = str | int | float | bool | None


class _Function(TypedDict, total=False):
    name: str | None
    arguments: str | None


class _Call(TypedDict, total=False):
    index: int | None
    id: _Scalar
    function: _Function | None


class _Said(TypedDict, total=False):
    content: str | None
    refusal: str | None
    reasoning: str | None
    reasoning_content: str | None
    tool_calls: list[_Call] | None


class _Choice(TypedDict, total=False):
    message: _Said | None
    delta: _Said | None
    finish_reason: str | None
    logprobs: Raw


class _Details(TypedDict, total=False):
    cached_tokens: int | None
    reasoning_tokens: int | None


class _Usage(TypedDict, total=False):
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    prompt_tokens_details: _Details | None
    completion_tokens_details: _Details | None


class _Chat(TypedDict, total=False):
    """The fields that a translation reads of an answer or a chunk; the others are skipped, which is fast."""

    id: _Scalar
    model: _Scalar
    created: _Scalar
    choices: list[_Choice] | None
    usage: _Usage | None
    idk: Raw


_CHAT = msgspec.json.Decoder(_Chat)


def _decoded(payload: bytes) -> dict[str, Any]:
    """Decode what a translation reads of an answer or a chunk; raises UpstreamGarbage if it is not JSON."""
    try:
        check_utf8(payload)
        return cast("dict[str, Any]", _CHAT.decode(payload))
    except msgspec.ValidationError:
        return _decoded_loosely(payload)
    except UNREADABLE as exc:
        raise UpstreamGarbage("the upstream's answer is not JSON") from exc


def _decoded_loosely(payload: bytes) -> dict[str, Any]:
    """Decode an answer of which some value has an unexpected type: such a value is left out."""
    answer, fields = loose(payload), loose_fields(Raw(payload))
    found: dict[str, Any] = {
        "id": text_of(answer.id),
        "model": text_of(answer.model),
        "choices": [_choice(choice) for choice in loose_choices(answer)],
        "usage": counts(answer.usage) or None,
    }
    created = value_of(fields.get("created", ABSENT))
    if is_count(created):
        found["created"] = created
    if "idk" in fields:
        found["idk"] = fields["idk"]
    return found


def _choice(choice: dict[str, Raw]) -> dict[str, Any]:
    """Return what can be read of a choice."""
    return {name: _message(choice, name) for name in ("message", "delta") if name in choice} | {
        "finish_reason": loose_reason(choice.get("finish_reason")),
        "logprobs": choice.get("logprobs", ABSENT),
    }


def _message(choice: dict[str, Raw], name: str) -> dict[str, Any]:
    """Return what can be read of a message or a delta."""
    message, _ = loose_message(choice, name)
    fields = loose_fields(choice[name])
    calls = message.tool_calls if isinstance(message.tool_calls, list) else []
    thoughts = {field: text_of(fields.get(field)) for field in ("reasoning", "reasoning_content")}
    return thoughts | {
        "content": message.content,
        "refusal": message.refusal,
        "tool_calls": [
            call for call in calls if isinstance(call, dict) and isinstance(call.get("function"), dict)
        ],
    }


class TranslatedSurface:
    """The surface of a translated format; its ``path`` is that of chat completions, which the upstream is asked for."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._chat = Chat()
        self.name = translation.name
        self.path = self._chat.path
        self.takes_n = self._chat.takes_n

    def parse(self, body: bytes) -> Request:
        """Read a client's body as a request for a chat; raises BadRequest."""
        request = self._chat.parse(encode(self._translation.to_chat(body), len(body)))
        return msgspec.structs.replace(request, origin=_FIELDS.decode(body))

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """Return the body for the upstream, a chat's."""
        return self._chat.outgoing(request, ask)

    def edited(self, request: Request, edit: Edit) -> Request:
        """Return the request with the texts of its messages replaced; raises BadRequest."""
        return self._chat.edited(request, edit)

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer, a chat's; raises UpstreamGarbage, or UpstreamStatus if it is an error."""
        return self._chat.read(body, ask)

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """Return the translation of the body that a chat's client would get."""
        answer = _decoded(self._chat.render(request, ask, completion, verdict))
        return msgspec.json.encode(self._translation.from_chat(answer, request))

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], EarlyVerdict] | None
    ) -> StreamReader:
        """Return a reader of the upstream's chunks that translates what it passes on."""
        reader = self._chat.stream(request, ask, hold=hold, watch=watch)
        return _TranslatedStream(reader, self._translation.events(request))

    def ungated(self, request: Request) -> Translator:
        """Return what translates an answer that no gate reads."""
        return _Translator(self._translation, request)

    def error(self, exc: HttpError) -> bytes:
        """Encode an error in the client's format."""
        return self._translation.error(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """Encode an error as an event in the client's format."""
        return self._translation.error_event(exc)


_FIELDS = msgspec.json.Decoder(dict[str, Raw])


class _TranslatedStream:
    def __init__(self, reader: StreamReader, translation: EventTranslation) -> None:
        self._reader = reader
        self._translation = translation

    def feed(self, data: bytes) -> bytes:
        return self._translated(self._reader.feed(data))

    @property
    def pending(self) -> int:
        return self._reader.pending

    @property
    def settled(self) -> bool:
        return self._reader.settled

    def completion(self) -> Completion:
        return self._reader.completion()

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        return self._translated(self._reader.finish(completion, verdict, cancelled=cancelled))

    def _translated(self, events: bytes) -> bytes:
        """Translate the events of the reader, which are complete and have one line each."""
        out: list[bytes] = []
        for line in events.split(b"\n\n"):
            payload = line.removeprefix(b"data: ")
            if payload == sse.DONE:
                out.append(self._translation.done())
            elif payload:
                out.append(self._translation.chunk(_decoded(payload)))
        return b"".join(out)


class _Translator:
    """Translates one answer of a chat that no gate reads; see ``Translator``."""

    def __init__(self, translation: Translation, request: Request) -> None:
        self._translation = translation
        self._request = request
        self._events = translation.events(request)
        self._splitter = sse.Splitter(EVENT_LIMIT)

    def whole(self, body: bytes) -> bytes:
        """Translate a whole answer; raises UpstreamGarbage."""
        return msgspec.json.encode(self._translation.from_chat(_decoded(body), self._request))

    def feed(self, data: bytes) -> bytes:
        """Translate the events that ``data`` completes; raises UpstreamGarbage."""
        return b"".join(
            self._events.done() if payload == sse.DONE else self._events.chunk(_decoded(payload))
            for payload in self._splitter.feed(data)
        )
