"""What stands around a route's questions: passages and worked examples."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Example(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One worked example: a question, perhaps with passages, and its answer, which may be "I don't know."."""

    question: Annotated[str, Meta(min_length=1)]
    answer: Annotated[str, Meta(min_length=1)]
    context: tuple[str, ...] = ()


class Rag(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a request's context stands, and whether to ask again without it; see ``proxy.requests.prompt.context``."""

    context: Annotated[str, Meta(min_length=1)] | None = None
    rescue: bool = False
    #: How passages that a request brings in its own ``idk`` field are put before its question.
    template: str | None = None
    #: Whether the question that is asked again says that passages may be irrelevant.
    instruct: bool = False
    #: Worked examples before every question: a file, one JSON object a line, or the examples themselves.
    examples: str | tuple[Example, ...] = ()
