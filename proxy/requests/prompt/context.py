"""Where a request's context stands: its passages, the request that carries them, and the one without them.

A route says it by ``rag.context``: ``role:NAME`` or ``name:NAME`` of messages that are passages, ``request``
(the request's own ``idk.context`` alone), or else a regular expression over message text. Patterns are
clients' text matched by an operator's expression, so the time must be bounded: RE2 takes time linear in the
text whatever the pattern is, where Python's ``re`` can take exponential time and ``regex`` only gives up late.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import msgspec
import re2

from proxy.exceptions import BadRequest, BodyTooLarge, ConfigError
from proxy.server.bodies import decode_text, encode_text
from proxy.server.body_thread import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxy.surfaces.contract import Request, Surface

#: The word for the request's own field alone.
OWN = "request"
#: Between passages, and how the question follows them; ``idk evaluate`` asks in the same form.
SEPARATOR = "\n\n"
TEMPLATE = "{context}\n\n{question}"
#: Put before the question where a rescue may say so (`rag.instruct`).
INSTRUCTION = (
    "Passages that were found for this question may be irrelevant and are left out. "
    "Answer from what you know; if you do not know the answer, say that you don't know."
)
#: Where a pattern may fit in one request. Each costs some microseconds; a passage is a paragraph or more.
MOST_PLACES = 10_000
_SLOT = re.compile(r"\{(?:context|question)\}")
#: Who asks and who answers: their messages are no passages.
_SPEAKERS = ("user", "assistant")


class Cut(Protocol):
    """Reads one message's text."""

    def __call__(self, role: str, name: str | None, text: str) -> tuple[str | None, Sequence[str | None]]:
        """What is left of it without its passages (None: nothing), and the passages; None where a place has none."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A request's ``passages`` (n,), n >= 1.

    ``request`` is to be asked with them; ``without`` is the same question without them, None where nothing
    would be left to ask; ``question`` is what the user said last in it.
    """

    passages: tuple[str, ...]
    request: Request
    without: Request | None
    question: str | None


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds the context of a route's requests. ``tells`` is whether its absence is known too."""

    cut: Cut | None
    template: str = TEMPLATE
    tells: bool = True

    def find(self, surface: Surface, request: Request) -> Found | None:
        """The request's context, or None where it has none."""
        passages = list(request.context)
        question: str | None = None
        places = 0

        def edit(role: str, name: str | None, text: str) -> str | None:
            nonlocal question, places
            kept, found = self.cut(role, name, text) if self.cut is not None else (text, ())
            places += len(found)
            if places > MOST_PLACES:
                raise BodyTooLarge(
                    f"the context stands in over {MOST_PLACES} places (rag.context)", code="body_too_large"
                )
            passages.extend(passage for passage in found if passage is not None)
            if role == "user" and kept:
                question = kept
            return kept

        without: Request | None = None
        try:
            without = surface.edited(request, edit)
        except BadRequest:  # a format that has no request without a question says so
            if not passages:
                raise
        if not passages:
            return None
        whole = request
        if request.context:
            context = SEPARATOR.join(request.context)
            whole = edited_last(surface, request, lambda text: filled(self.template, context, text))
            without = without and msgspec.structs.replace(without, context=())
        return Found(tuple(passages), whole, None if question is None else without, question)


def instructed(surface: Surface, request: Request) -> Request:
    """The request with the instruction before its last question."""
    return edited_last(surface, request, lambda text: f"{INSTRUCTION}{SEPARATOR}{text}")


def filled(template: str, context: str, question: str) -> str:
    """The template with its slots filled, once: a passage that holds a slot's name keeps it."""
    values = {"{context}": context, "{question}": question}
    return _SLOT.sub(lambda slot: values[slot[0]], template)


@dataclass(slots=True)
class _Last:
    """Edits the last of the user's texts; first used to count them (``change`` None)."""

    change: Callable[[str], str] | None = None
    left: int = 0

    def __call__(self, role: str, name: str | None, text: str) -> str:
        if role != "user":
            return text
        if self.change is None:
            self.left += 1
            return text
        self.left -= 1
        return text if self.left else self.change(text)


def edited_last(surface: Surface, request: Request, change: Callable[[str], str]) -> Request:
    """``change`` made to the last text of the user's."""
    counted = _Last()
    surface.edited(request, counted)
    return surface.edited(request, _Last(change, counted.left))


@dataclass(frozen=True, slots=True)
class _Messages:
    """Whole messages of one role or one name are passages."""

    role: str | None
    name: str | None

    def __call__(self, role: str, name: str | None, text: str) -> tuple[str | None, Sequence[str]]:
        if (self.role is not None and role == self.role) or (self.name is not None and name == self.name):
            return None, (text,)
        return text, ()


@dataclass(frozen=True, slots=True)
class _Matches:
    """Each match goes; its one group is a passage."""

    pattern: re2._Regexp = field(repr=False)

    def __call__(self, role: str, name: str | None, text: str) -> tuple[str | None, Sequence[str | None]]:
        # As bytes: of a str RE2 counts the characters up to each match, and holds the interpreter all the while.
        whole = encode_text(text)
        kept: list[bytes] = []
        passages: list[str | None] = []
        end = 0
        for match in islice(self.pattern.finditer(whole), MOST_PLACES + 1):
            start, stop = match.span()
            passage = match.group(1)
            if start == stop or not passage:
                passages.append(None)
                continue
            kept.append(whole[end:start])
            passages.append(passage.decode(errors="replace"))
            end = stop
            pause()
        if not kept:
            return text, passages
        return decode_text([*kept, whole[end:]]).strip() or None, passages


def finder(context: str | None, template: str | None, place: str) -> Finder:
    """The finder of a route's ``rag`` section at ``place``; raises ConfigError."""
    template = TEMPLATE if template is None else template
    for slot in ("{context}", "{question}"):
        if template.count(slot) != 1:
            raise ConfigError(f"{place}.template: must hold {slot} once, as in {TEMPLATE!r}")
    if context is None or context == OWN:
        return Finder(None, template, tells=context is not None)
    kind, colon, name = context.partition(":")
    made = _BY_PREFIX.get(kind) if colon else None
    return Finder(_pattern(context, place) if made is None else made(name, place), template)


def _of_role(role: str, place: str) -> Cut:
    if not role or role in _SPEAKERS:
        raise ConfigError(
            f"{place}.context: role:{role} would cut out the conversation itself; name the role of the "
            "passages (role:tool), or give a regular expression with one group"
        )
    return _Messages(role, None)


def _of_name(name: str, place: str) -> Cut:
    if not name:
        raise ConfigError(f"{place}.context: name: names no message; write name:NAME")
    return _Messages(None, name)


def _pattern(text: str, place: str) -> Cut:
    options = re2.Options()
    options.log_errors = False  # RE2 would write to standard error beside our one line
    try:
        pattern = re2.compile(text, options)
    except re2.error as exc:
        said = exc.args[0] if exc.args else exc
        said = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        raise ConfigError(
            f"{place}.context: {text!r} is no regular expression of RE2's: {said}; "
            "lookaround and backreferences are not in it"
        ) from exc
    if pattern.groups != 1:
        raise ConfigError(
            f"{place}.context: {text!r} has {pattern.groups} groups; mark the context by one group, as in "
            r"(?s)<context>(.*?)</context>, and write others as (?:…)"
        )
    return _Matches(pattern)


_BY_PREFIX: Mapping[str, Callable[[str, str], Cut]] = MappingProxyType({"role": _of_role, "name": _of_name})
