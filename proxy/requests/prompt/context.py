"""The context of a request: its passages, the request with them, and the request without them.

A route's ``rag.context`` says where the passages are: ``role:NAME`` or ``name:NAME`` of messages that are passages,
``request`` (only the request's ``idk.context``), or a regular expression over message text. The operator's expression
is matched against clients' text, so its time must be bounded: RE2 takes time linear in the text for every pattern,
where Python's ``re`` can take exponential time and ``regex`` gives up late.
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

#: The value of ``rag.context`` for the request's ``idk.context`` alone.
OWN = "request"
#: What separates passages, and how the question follows them; ``idk evaluate`` asks in the same form.
SEPARATOR = "\n\n"
TEMPLATE = "{context}\n\n{question}"
#: Put before the question of a rescue (``rag.instruct``).
INSTRUCTION = (
    "Passages that were found for this question may be irrelevant and are left out. "
    "Answer from what you know; if you do not know the answer, say that you don't know."
)
#: The most matches in one request. Each costs some microseconds; a passage is a paragraph or more.
MOST_PLACES = 10_000
_SLOT = re.compile(r"\{(?:context|question)\}")
#: The roles of the conversation itself, whose messages are not passages.
_SPEAKERS = ("user", "assistant")


class Cut(Protocol):
    """Cuts the passages out of one message's text."""

    def __call__(self, role: str, name: str | None, text: str) -> tuple[str | None, Sequence[str | None]]:
        """Return the text without its passages (None if empty), and the passages (None for an empty match)."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A request's ``passages`` (n,), n >= 1.

    ``request`` asks with the passages. ``without`` asks the same question without them; it is None if nothing would be
    left to ask. ``question`` is the user's last text in it.
    """

    passages: tuple[str, ...]
    request: Request
    without: Request | None
    question: str | None


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds the context of a route's requests. ``tells`` says whether it can also tell that there is none."""

    cut: Cut | None
    template: str = TEMPLATE
    tells: bool = True

    def find(self, surface: Surface, request: Request) -> Found | None:
        """Return the request's context, or None if it has none."""
        passages = list(request.context)
        question: str | None = None
        places = 0

        def edit(role: str, name: str | None, text: str) -> str | None:
            nonlocal question, places
            kept, found = self.cut(role, name, text) if self.cut is not None else (text, ())
            places += len(found)
            if places > MOST_PLACES:
                raise BodyTooLarge(
                    f"rag.context matches more than {MOST_PLACES} times in the request; send fewer passages",
                    code="body_too_large",
                )
            passages.extend(passage for passage in found if passage is not None)
            if role == "user" and kept:
                question = kept
            return kept

        without: Request | None = None
        try:
            without = surface.edited(request, edit)
        except BadRequest:  # raised by formats in which a request must have a question
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
    """Return the request with the instruction before its last question."""
    return edited_last(surface, request, lambda text: f"{INSTRUCTION}{SEPARATOR}{text}")


def filled(template: str, context: str, question: str) -> str:
    """Fill the template's slots, once: a slot's name inside a passage is not filled again."""
    values = {"{context}": context, "{question}": question}
    return _SLOT.sub(lambda slot: values[slot[0]], template)


@dataclass(slots=True)
class _Last:
    """Edits the last of the user's texts, after a first pass with ``change`` None has counted them."""

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
    """Return the request with ``change`` applied to the user's last text."""
    counted = _Last()
    surface.edited(request, counted)
    return surface.edited(request, _Last(change, counted.left))


@dataclass(frozen=True, slots=True)
class _Messages:
    """Takes whole messages of one role or one name as passages."""

    role: str | None
    name: str | None

    def __call__(self, role: str, name: str | None, text: str) -> tuple[str | None, Sequence[str]]:
        if (self.role is not None and role == self.role) or (self.name is not None and name == self.name):
            return None, (text,)
        return text, ()


@dataclass(frozen=True, slots=True)
class _Matches:
    """Cuts out each match of a pattern; its one group is a passage."""

    pattern: re2._Regexp = field(repr=False)

    def __call__(self, role: str, name: str | None, text: str) -> tuple[str | None, Sequence[str | None]]:
        # As bytes: for a str, RE2 counts the characters up to each match while it holds the interpreter lock.
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
    """Make the finder of a route's ``rag`` section at ``place``; raises ConfigError."""
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
            f"{place}.context: {text!r} is not a regular expression of RE2: {said}; "
            "RE2 has no lookaround and no backreferences"
        ) from exc
    if pattern.groups != 1:
        raise ConfigError(
            f"{place}.context: {text!r} has {pattern.groups} groups; mark the context by one group, as in "
            r"(?s)<context>(.*?)</context>, and write others as (?:…)"
        )
    return _Matches(pattern)


_BY_PREFIX: Mapping[str, Callable[[str, str], Cut]] = MappingProxyType({"role": _of_role, "name": _of_name})
