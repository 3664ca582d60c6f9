"""What chat completions and the older completions share: an answer that is a list of choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from gating.types import Evidence
from proxy.exceptions import UNREADABLE
from proxy.server.bodies import check_utf8
from proxy.server.errors import error_body
from proxy.surfaces.answer_fields import (
    ABSENT,
    counts,
    envelope,
    head_of,
    value_of,
    with_usage,
)
from proxy.surfaces.contract import Choice, Completion
from proxy.surfaces.json_bytes import replace_logprobs, strict_json, with_field
from proxy.surfaces.tokens import LOGPROB_TYPES, MALFORMED, ReadLogprobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import Ask, Request, Verdict

T = TypeVar("T")

#: The largest index of a choice that the stores can hold.
_MOST_INDEX: Final = 2**31 - 1
#: Bytes of an event of a stream: it holds a few tokens.
EVENT_LIMIT: Final = 1_000_000


class LooseAnswer(Struct):
    """An answer, or a chunk of one, of which no value is decoded."""

    choices: Raw | UnsetType = UNSET
    usage: Raw = ABSENT
    id: Raw = ABSENT
    model: Raw = ABSENT
    error: Raw = ABSENT
    object: Raw = ABSENT


_NOT_AN_OBJECT: Final = "not an object"
_LOOSE = msgspec.json.Decoder(LooseAnswer)
_CHOICES = msgspec.json.Decoder(list[Raw])
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_ANY = msgspec.json.Decoder(Raw)


class AnswerDecoder(Generic[T]):
    """Decodes an upstream's answer or chunk into a struct.

    Returns None in place of the struct if a value has another type than the struct expects: such an answer is read
    loosely. Raises UpstreamGarbage only if the body is not JSON.
    """

    def __init__(self, struct: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(struct)

    def __call__(self, body: bytes) -> tuple[T | None, bytes]:
        """Return the struct, and the body without NaN and Infinity."""
        try:
            check_utf8(body)
            return self._decoder.decode(body), body
        except msgspec.ValidationError:
            return None, checked(body)
        except UNREADABLE:
            body = strict_json(body)
        try:
            return self._decoder.decode(body), body
        except msgspec.ValidationError:
            return None, body


def checked(body: bytes) -> bytes:
    """Return a body that is JSON, without NaN and Infinity; raises UpstreamGarbage if it is not JSON."""
    try:
        _ANY.decode(body)
    except UNREADABLE:
        return strict_json(body)
    return body


def loose(body: bytes) -> LooseAnswer:
    """Read an answer or a chunk whose values may have any type; one that is not an object has no fields."""
    try:
        return _LOOSE.decode(body)
    except msgspec.ValidationError:
        return LooseAnswer()


def loose_choices(answer: LooseAnswer) -> list[dict[str, Raw]]:
    """Return the choices of an answer, each with its encoded fields.

    A choice that is not an object has one field of an unknown name, so that its text counts as unread.
    """
    if isinstance(answer.choices, UnsetType):
        return []
    try:
        encoded = _CHOICES.decode(answer.choices)
    except msgspec.ValidationError:
        return []
    return [loose_fields(choice) or {_NOT_AN_OBJECT: choice} for choice in encoded]


def loose_fields(value: Raw) -> dict[str, Raw]:
    """Return the encoded fields of an object; none if the value is not an object."""
    try:
        return _FIELDS.decode(value)
    except UNREADABLE:
        return {}


def loose_index(value: Raw | None, place: int) -> int:
    """Return the index of a choice, or its ``place`` in the list if the upstream gives no valid one."""
    index = None if value is None else value_of(value)
    valid = isinstance(index, int) and not isinstance(index, bool) and 0 <= index <= _MOST_INDEX
    return index if valid else place  # type: ignore[return-value] # an int, as was just seen


def loose_reason(value: Raw | None) -> str | None:
    """Return the finish reason of a choice; an empty one is none, and one that is not a string is named so."""
    reason = None if value is None else value_of(value)
    if isinstance(reason, str):
        return reason or None
    return "unknown" if reason else None


def loose_logprobs(value: Raw | None, decoder: msgspec.json.Decoder[Any]) -> Any:
    """Return the logprobs of a choice; Unmeasured if they are malformed."""
    if value is None:
        return None
    try:
        return decoder.decode(value)
    except UNREADABLE:
        return MALFORMED


#: Reads the logprobs of a chat, by whether the alternatives of each token are needed.
CHAT_LOGPROBS: Final[Mapping[bool, msgspec.json.Decoder[ReadLogprobs]]] = {
    ranked: msgspec.json.Decoder(kind) for ranked, kind in LOGPROB_TYPES.items()
}


def missing_choice(index: int = 0) -> Choice:
    """Return the choice that takes the place of an answer without any."""
    return Choice(index, Evidence(""), unreadable="the answer has no choice", missing=True)


def has_text(fields: Mapping[str, Raw], known: frozenset[str]) -> str | None:
    """Return the name of a field outside ``known`` that may hold text; None if there is none.

    Null, booleans, numbers and empty values hold no text.
    """
    for name, raw in fields.items():
        if name not in known and _may_hold_text(value_of(raw)):
            return name
    return None


def _may_hold_text(value: Any) -> bool:
    return bool(value) and not isinstance(value, int | float)


class Spans(Struct):
    """The encoded logprobs of each choice of an answer or a chunk."""

    choices: list[_Span] = []


class _Span(Struct):
    logprobs: Raw = ABSENT


_SPANS = msgspec.json.Decoder(Spans)


def with_logprobs(replacement: Callable[[Raw], bytes], body: bytes) -> bytes:
    """Return the body with the logprobs of each choice replaced; unchanged if its choices cannot be read."""
    try:
        choices = _SPANS.decode(body).choices
    except msgspec.ValidationError:
        return body
    return replace_logprobs(body, [choice.logprobs for choice in choices], replacement)


class ChoicesSurface:
    """The part of a surface that chat completions and completions share."""

    #: The value of ``object`` in a whole answer.
    kind: str

    def __init__(self) -> None:
        self._fields = msgspec.json.Decoder(dict[str, Raw])

    def _for_client(self, request: Request, ask: Ask) -> Callable[[bytes], bytes] | None:
        """Return what changes the logprobs of an answer to those that the client asked for; None if they are."""
        raise NotImplementedError

    def _abstention(self, index: int, text: str, *, json_answer: bool) -> Mapping[str, object]:
        """Return the choice that replaces a withheld one."""
        raise NotImplementedError

    def _without_thoughts(self, choice: dict[str, Raw]) -> dict[str, Any]:
        """Return a choice without the thoughts in its text."""
        raise NotImplementedError

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """Return the upstream's bytes with ``idk`` added; the answer is rebuilt only if something is withheld."""
        body = completion.body
        cut = self._for_client(request, ask)
        if cut is not None and len(verdict.withheld) < len(completion.choices):
            body = cut(body)
        if verdict.withheld:
            body = self._withhold(body, request, verdict)
        elif verdict.without_thoughts:
            choices = msgspec.json.encode(list(self._served(body, request, verdict)))
            body = msgspec.json.encode({**self._fields.decode(body), "choices": Raw(choices)})
        if verdict.report.extra.calls:
            body = with_usage(body, verdict.report.extra)
        return with_field(body, b"idk", msgspec.json.encode(verdict.report))

    def _withhold(self, body: bytes, request: Request, verdict: Verdict) -> bytes:
        """Build the answer in which abstentions replace the withheld choices."""
        fields = loose_fields(Raw(body))
        built = envelope([fields], self.kind)
        if usage := counts(fields.get("usage", ABSENT)):
            built["usage"] = usage
        return msgspec.json.encode({**built, "choices": list(self._served(body, request, verdict))})

    def _served(self, body: bytes, request: Request, verdict: Verdict) -> Iterator[Mapping[str, Any]]:
        """Return the choices as the client gets them."""
        choices = loose_choices(loose(body)) or [{}]
        for choice, report in zip(choices, verdict.report.choices, strict=True):
            if report.index in verdict.withheld:
                yield self._abstention(report.index, verdict.abstain_text, json_answer=request.json_answer)
            elif report.index in verdict.without_thoughts:
                yield self._without_thoughts(choice)
            else:
                yield choice

    def ungated(self, request: Request) -> None:
        """Return None: the client gets the upstream's bytes."""
        return

    def error(self, exc: HttpError) -> bytes:
        """Encode OpenAI's error object."""
        return error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """Encode an error as an event; OpenAI's SDKs raise on data with an ``error``."""
        return b"data: " + error_body(exc) + b"\n\n"


def completion_of(
    choices: Sequence[Choice], usage: Raw, body: bytes, identity: tuple[str | None, str | None] | None = None
) -> Completion:
    """Return the completion of a whole answer, or of the choices of a stream."""
    counted = counts(usage)
    id_, model = head_of(body) if identity is None else identity
    return Completion(
        choices=tuple(choices) or (missing_choice(),),
        prompt_tokens=counted.get("prompt_tokens"),
        completion_tokens=counted.get("completion_tokens"),
        body=body,
        id=id_,
        model=model,
    )
