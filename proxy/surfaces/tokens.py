"""The tokens of an answer with their logprobs, as OpenAI's chat format has them, and the evidence they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from gating.evidence import call_evidence, clean_logprobs, evidence_of
from gating.types import Evidence, Unmeasured
from proxy.exceptions import UNREADABLE
from proxy.surfaces.token_spelling import NO_MATCH, align

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Alternative(Struct, gc=False):
    """One of the most likely tokens at a place."""

    logprob: float | None = None


class Token(Struct, gc=False):
    """One token of an answer. Its bytes stay undecoded, since they are needed only if the text does not match."""

    token: str = ""
    logprob: float | None = None
    bytes: Raw = Raw(b"null")


class RankedToken(Token, gc=False):
    """A token with its alternatives. Few scorers read them, and decoding them takes most of the time."""

    top_logprobs: list[Alternative] | None = None


TokenType = TypeVar("TokenType", bound=Token)


class Logprobs(Struct, Generic[TokenType]):
    """The ``logprobs`` of one choice."""

    content: list[TokenType] | None = None


#: The logprobs of a choice after reading; Unmeasured if they are present but malformed.
ReadLogprobs: TypeAlias = Logprobs[Token] | Unmeasured | None
#: The type that a choice's logprobs are decoded as, by whether the alternatives of each token are needed.
LOGPROB_TYPES: Final[Mapping[bool, Any]] = {
    False: Logprobs[Token] | None,
    True: Logprobs[RankedToken] | None,
}
MALFORMED: Final = Unmeasured("malformed logprobs")
_BYTES = msgspec.json.Decoder(list[Annotated[int, Meta(ge=0, le=255)]] | None)


def evidence(text: str, logprobs: ReadLogprobs, *, alternatives: int) -> Evidence:
    """Return the evidence of an answer and its logprobs."""
    if isinstance(logprobs, Unmeasured):
        return Evidence(text, token_logprobs=logprobs)
    return tokens_evidence(text, (logprobs and logprobs.content) or (), alternatives=alternatives)


def tokens_evidence(text: str, tokens: Sequence[Token], *, alternatives: int) -> Evidence:
    """Return the evidence of an answer and its tokens; the scorers refuse a token without a logprob.

    The first ``alternatives`` of each token are kept, as many as the policy was tuned on: an entropy over more of them
    is another quantity.
    """
    if not tokens:
        return Evidence(text)
    shown = [token.token for token in tokens]
    values = [token.logprob for token in tokens]
    tops = (
        [[top.logprob for top in (token.top_logprobs or ())[:alternatives]] for token in tokens]  # type: ignore[attr-defined] # they are RankedTokens then
        if alternatives
        else None
    )
    if "".join(shown) == text:
        return evidence_of(text, shown, values, top_logprobs=tops)  # type: ignore[arg-type] # the scorers refuse None
    found = evidence_of(text, shown, values, top_logprobs=tops, token_bytes=_bytes_of(tokens))  # type: ignore[arg-type] # the scorers refuse None
    if found.token_logprobs != NO_MATCH:
        return found
    place = align(text, shown)
    if isinstance(place, Unmeasured):
        return Evidence(text, token_logprobs=place)
    return Evidence(
        text,
        token_logprobs=clean_logprobs(values[place]),  # type: ignore[arg-type] # it refuses None
        top_logprobs=None if tops is None else tops[place],
    )


def _bytes_of(tokens: Sequence[Token]) -> list[list[int] | None] | None:
    """Return the UTF-8 bytes of each token, as far as the upstream gives them; None if they cannot be read."""
    try:
        return [_BYTES.decode(token.bytes) for token in tokens]
    except UNREADABLE:
        return None


def words_evidence(text: str, logprobs: ReadLogprobs, *, alternatives: int) -> Evidence:
    """Return the evidence of the text before tool calls: of the first tokens, if they spell it exactly."""
    tokens = logprobs.content or () if isinstance(logprobs, Logprobs) else ()
    size = 0
    for number, token in enumerate(tokens, start=1):
        size += len(token.token)
        if size >= len(text):
            return tokens_evidence(text, tokens[:number], alternatives=alternatives)
    return evidence(text, logprobs, alternatives=alternatives)


def calls_evidence(arguments: Sequence[str], logprobs: ReadLogprobs) -> Evidence:
    """Return the evidence of an answer that is tool calls with these ``arguments``."""
    if isinstance(logprobs, Unmeasured):
        return Evidence("\n".join(arguments), token_logprobs=logprobs)
    tokens = (logprobs and logprobs.content) or []
    return call_evidence(arguments, [token.token for token in tokens], [token.logprob for token in tokens])
