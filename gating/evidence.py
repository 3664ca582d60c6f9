"""Evidence from an upstream's tokens: find the tokens of the answer, and check that their logprobs are usable.

A list of tokens may hold more than the answer (reasoning before it, an end-of-turn token after it) or show it
differently (whitespace that the server stripped, characters that span several tokens). An answer whose tokens
do not match its content is unmeasured, because a score of other text says nothing about this answer.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

from gating.types import Evidence, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: ln 2**-126, the smallest normal float32. Servers compute the softmax in float32, so lower values cannot be
#: measurements. The sentinels -9999 (OpenAI's API reference, `logprobs`; vLLM) and -inf are clipped to it.
FLOOR = -126 * math.log(2)
#: A logprob may exceed 0 by the rounding of a float32 softmax, not by more.
ROUNDING = 1e-6

#: Number of tokens from which on logprobs that are all exactly 0, or all at the floor, are no measurement. Some
#: providers send such constants. Of 366 greedy answers of two models (1 to 32 tokens, llama.cpp), none had two exact
#: zeros in a row (6 of 2,142 tokens were 0); of 84,000 worked answers of seven strong models none had a mean
#: probability of 1, but 12,001 of 12,032 answers of a provider with constant logprobs had.
#: Short answers can reach 1 in float32, so a margin is kept.
FLAT_TOKENS = 8

#: Whitespace that servers strip. str.strip() would also remove the bytes 0x85 and 0xa0 of a UTF-8 text.
_SPACE = " \t\r\n\v\f"
#: U+FFFD, which servers show in place of a part of a character.
_PIECE = "\ufffd"
#: Longest run of U+FFFD that is followed; the cost grows with the square of its length.
_MOST_PLACES = 64
#: End-of-turn tokens, should the server show their text: ChatML, Llama 3, Phi, gpt-oss (<|…|>), DeepSeek
#: (<｜…｜>), EXAONE ([|…|]), Llama 2 and Mistral (</s>), Gemma (<eos>, <end_of_turn>).
_END = re.compile(r"<\|[^<>]*\|>|<｜[^<>]*｜>|\[\|[^\[\]]*\|\]|</s>|<eos>|<end_of_turn>")
#: How OpenAI's completions show the bytes of a partial character.
_ESCAPED = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")


def clean_logprobs(logprobs: Sequence[float] | Unmeasured | None) -> Sequence[float] | Unmeasured:
    """Return the logprobs (n,), n >= 1, clipped to [FLOOR, 0] nats.

    Return Unmeasured where there are none, where one is missing, NaN or positive, and where at least FLAT_TOKENS
    are all exactly 0 or all at the floor.
    """
    if logprobs is None:
        return Unmeasured("no token logprobs")
    if isinstance(logprobs, Unmeasured):
        return logprobs
    if len(logprobs) == 0:
        return Unmeasured("no tokens")
    try:
        lowest, highest, total = min(logprobs), max(logprobs), sum(logprobs)
    except TypeError:
        return Unmeasured("a token has no logprob")
    if highest > ROUNDING:
        return Unmeasured("a token's logprob is positive")
    if math.isnan(total):  # min and max may step over a NaN, a sum cannot
        return Unmeasured("a token's logprob is NaN")
    if len(logprobs) >= FLAT_TOKENS and (lowest == highest == 0.0 or highest <= FLOOR):
        return Unmeasured("flat logprobs")
    if lowest < FLOOR or highest > 0.0:
        return [min(max(value, FLOOR), 0.0) for value in logprobs]
    return logprobs


def answer_logprobs(
    content: str,
    tokens: Sequence[str],
    logprobs: Sequence[float],
    token_bytes: Sequence[Sequence[int] | None] | None = None,
) -> slice | Unmeasured:
    """Return which of ``tokens`` (n,) with ``logprobs`` (n,) are the answer's tokens.

    ``token_bytes`` (n,) are the tokens' UTF-8 bytes (OpenAI's ``bytes``); with them a character that spans
    several tokens is matched exactly. Return Unmeasured where the concatenated tokens are not the content, or
    where a logprob of the answer is missing, NaN or positive.
    """
    if not logprobs:
        return Unmeasured("no token logprobs")
    if len(tokens) != len(logprobs):
        return Unmeasured(f"{len(tokens)} tokens but {len(logprobs)} logprobs")
    if not content.strip():
        return Unmeasured("the answer is empty")
    place = _locate(content, tokens, token_bytes)
    if place is None:
        return Unmeasured("tokens do not match the content")
    cleaned = clean_logprobs(logprobs[place])
    return cleaned if isinstance(cleaned, Unmeasured) else place


def evidence_of(
    content: str,
    tokens: Sequence[str] | None,
    logprobs: Sequence[float] | None,
    *,
    top_logprobs: Sequence[Sequence[float]] | None = None,
    token_bytes: Sequence[Sequence[int] | None] | None = None,
    samples: Sequence[str] = (),
) -> Evidence:
    """Build the evidence of one answer from its upstream's ``tokens`` (n,); ``top_logprobs`` are (n, k)."""
    if tokens is None or logprobs is None:
        return Evidence(content, samples=samples)
    place = answer_logprobs(content, tokens, logprobs, token_bytes)
    if isinstance(place, Unmeasured):
        return Evidence(content, token_logprobs=place, samples=samples)
    if top_logprobs is not None:
        # Lists of another length cannot be cut to the answer. Passed on whole, the scorers reject them.
        top_logprobs = top_logprobs[place] if len(top_logprobs) == len(tokens) else top_logprobs
    return Evidence(content, token_logprobs=logprobs[place], top_logprobs=top_logprobs, samples=samples)


def call_evidence(
    arguments: Sequence[str], tokens: Sequence[str], logprobs: Sequence[float | None]
) -> Evidence:
    """Build the evidence of an answer that consists of tool calls, from the tokens that spell their ``arguments``.

    ``tokens`` (n,) with ``logprobs`` (n,) are the whole output, including the syntax of the calls. Those tokens
    are left out, because the template makes them certain. The evidence is unmeasured where the arguments do not
    occur in the tokens in order.
    """
    text, said = "\n".join(arguments), "".join(tokens)
    ends = list(accumulate(map(len, tokens)))
    kept: list[float | None] = []
    start = 0
    for argument in arguments:
        start = said.find(argument, start)
        if start < 0 or not argument:
            return Evidence(text, token_logprobs=Unmeasured("the arguments are not among the tokens"))
        end = start + len(argument)
        kept += logprobs[bisect_right(ends, start) : bisect_left(ends, end) + 1]
        start = end
    return Evidence(text, token_logprobs=kept)  # type: ignore[arg-type] # None is what the scorers refuse


def _locate(
    content: str, tokens: Sequence[str], token_bytes: Sequence[Sequence[int] | None] | None
) -> slice | None:
    """Return the answer's position in the tokens, by the simplest reading that matches, or None."""
    if "".join(tokens) == content:
        return slice(0, _end(tokens, lambda token: not token))
    shown = tokens
    if token_bytes is not None and len(token_bytes) == len(tokens):
        # llama.cpp shows an empty text where a token is only a part of a character.
        shown = [token or (_PIECE if raw else "") for token, raw in zip(tokens, token_bytes, strict=True)]
    end = _end(shown, lambda token: not token or bool(_END.fullmatch(token)))
    inner = _end(shown, lambda token: not token.strip(_SPACE) or bool(_END.fullmatch(token)))
    for target, parts in _readings(content, tokens, token_bytes):
        stripped = [*parts[: inner - 1], parts[inner - 1].rstrip(_SPACE)] if inner else []
        found = _walk(target, parts[:end]) or _walk(target.strip(_SPACE), stripped)
        if found is not None:
            return found
    return None


def _end(tokens: Sequence[str], unwanted: Callable[[str], bool]) -> int:
    """Return the number of tokens that remain when the unwanted ones at the end are dropped."""
    end = len(tokens)
    while end and unwanted(tokens[end - 1]):
        end -= 1
    return end


def _readings(
    content: str, tokens: Sequence[str], token_bytes: Sequence[Sequence[int] | None] | None
) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the content and the tokens as byte strings (where the bytes are known), then as text."""
    if token_bytes is None or len(token_bytes) != len(tokens):
        token_bytes = [_escaped_bytes(token) for token in tokens]
    if any(token_bytes):
        yield (
            content.encode().decode("latin-1"),
            [
                (token.encode() if raw is None else bytes(raw)).decode("latin-1")
                for token, raw in zip(tokens, token_bytes, strict=True)
            ],
        )
    yield content, tokens


def _escaped_bytes(token: str) -> bytes | None:
    found = _ESCAPED.fullmatch(token)
    return bytes.fromhex(found[1].replace("\\x", "")) if found else None


def _walk(target: str, parts: Sequence[str]) -> slice | None:
    """Return the last parts that spell ``target``, matched from its end back to the beginning of a part.

    The walk keeps every position in ``target`` at which the parts seen so far may begin. There are several
    only because U+FFFD represents either a whole non-ASCII character or a further piece of its neighbour.
    """
    places = {len(target)}
    for start in range(len(parts) - 1, -1, -1):
        part = parts[start]
        before, places = places, _step(target, part, places)
        if 0 in places:
            pieces = takewhile(lambda part: part == _PIECE, reversed(parts[:start]))  # of the first character
            return slice(start - sum(1 for _ in pieces), len(parts))
        if part[:1] in _SPACE and any(part.lstrip(_SPACE) == target[:place] for place in before):
            return slice(start, len(parts))
        if not 0 < len(places) <= _MOST_PLACES:
            return None
    return None


def _step(target: str, part: str, places: set[int]) -> set[int]:
    """Return the positions in ``target`` at which ``part`` may begin when it ends at one of ``places``."""
    literals = part.split(_PIECE)
    for position in range(len(literals) - 1, -1, -1):
        literal = literals[position]
        places = {place - len(literal) for place in places if target.endswith(literal, 0, place)}
        if position:
            places |= {place - 1 for place in places if place and not target[place - 1].isascii()}
    return places
