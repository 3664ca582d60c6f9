"""Vectors of the answers and samples, from an upstream's ``/embeddings`` or from a model in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from proxy.exceptions import UNREADABLE, UpstreamGarbage
from proxy.requests.evidence.budget import check_question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.requests.evidence.budget import Slots
    from proxy.requests.evidence.gathering import Answer, Fields
    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Completion
    from proxy.upstreams.client import UpstreamClient

PATH = "/embeddings"


class Vectors(Protocol):
    """A source of vectors for texts."""

    async def __call__(
        self, exchange: Exchange, completion: Completion, texts: Sequence[str]
    ) -> Sequence[Sequence[float]] | None:
        """Return a vector (n, d) per text, or None if a text cannot be read whole; raises HttpError, OverBudget."""
        ...


@dataclass(frozen=True, slots=True)
class AnswerVectors:
    """Gathers the vectors of all answers and samples of a request in one go; see ``Gatherer``."""

    vectors: Vectors
    early: bool = False

    async def __call__(self, exchange: Exchange, answer: Answer) -> Sequence[Fields]:
        """Return ``embeddings`` (1 + k, d) of each choice and its samples; raises HttpError, OverBudget."""
        completion = await answer.get()
        rows = [(choice.evidence.answer, *choice.evidence.samples) for choice in completion.choices]
        texts = list(dict.fromkeys(text for row in rows for text in row))
        if not any(choice.evidence.samples for choice in completion.choices) or not all(texts):
            return ()  # servers refuse an empty text, and it has no direction
        vectors = await self.vectors(exchange, completion, texts)
        if vectors is None:
            return ()
        vector_of = dict(zip(texts, vectors, strict=True))
        return [{"embeddings": tuple(vector_of[text] for text in row)} for row in rows]


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Vector(msgspec.Struct):
    index: int
    embedding: list[float]


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class UpstreamVectors:
    """Makes one further call for all texts; see ``Vectors``."""

    upstream: UpstreamClient
    model: str
    slots: Slots

    async def __call__(
        self, exchange: Exchange, completion: Completion, texts: Sequence[str]
    ) -> Sequence[Sequence[float]]:
        """Return the upstream's vectors; raises UpstreamError's kinds, OverBudget."""
        check_question(exchange, completion)
        body = msgspec.json.encode({"model": self.model, "input": texts})
        exchange.spent.calls += 1
        granted = self.slots.take(1)
        try:
            response = await self.upstream.post(PATH, body, exchange.credentials)
            try:
                read = _read(await response.read(exchange.bodies.max_answer_bytes))
            finally:
                response.close()
        finally:
            self.slots.give(granted)
        exchange.spent.add_tokens(read.usage.prompt_tokens if read.usage else None, None)
        vectors = {vector.index: vector.embedding for vector in read.data}
        if vectors.keys() != set(range(len(texts))):
            raise UpstreamGarbage("the upstream did not embed every text")
        return [vectors[place] for place in range(len(texts))]


def _read(body: bytes) -> _Vectors:
    try:
        return msgspec.json.decode(body, type=_Vectors)
    except UNREADABLE as exc:
        raise UpstreamGarbage("the upstream's embeddings have an unexpected form") from exc
