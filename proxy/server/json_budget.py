"""How much a JSON body may hold, told before it is decoded: decoding cannot be interrupted, and all others wait.

A megabyte of text is decoded in a millisecond, a megabyte of empty keys in a hundred times that, with a hundred
times its bytes of memory, and a megabyte of escapes is written anew in ten times that; one character beyond U+FFFF
lets all others of its string take four bytes each. So the strings (every key is one), the other values and the escapes
of a body are counted first, and what its texts may take, by what bytes do fast; what is counted is exact for JSON (of
its texts' memory never less), and for anything else of no consequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.exceptions import BodyTooLarge, UpstreamTooLarge
from proxy.server.large_bodies import pause

#: How many numbers and other plain values for each string of a request: a prompt may be given as tokens.
OTHERS = 8
#: How many backslashes for each string of a request. Code has one in some thirty bytes, and a client may write every
#: letter beyond ASCII as one: at the default bounds a prompt of a million tokens may be. Text of nothing else is
#: refused from 3.2 MB on.
ESCAPES = 50
#: Bytes of memory for each string of a request that its texts beyond Latin-1 may take once decoded, 16 MB by default: a
#: million tokens of English with an emoji, at four letters each.
WIDE = 512
#: The same of an answer, which may have six times the strings by default; its tokens are given as bytes too.
ANSWER_OTHERS, ANSWER_ESCAPES, ANSWER_WIDE = 3, 8, 80
#: How many strings one event of a stream may have: the last of a response has all of its tokens, 24,000 with their
#: logprobs or 4,800 with five alternatives each. It is decoded whole, for it is written anew: 30 ms for as many keys.
EVENT_STRINGS = 120_000
#: How many strings for each object of an answer: a token with its logprob has five, each of its alternatives four.
STRINGS_EACH = 4
_BLOCK = 262_144
#: First bytes in UTF-8 of a character that takes two bytes in memory (from U+0100 on) or four (from U+10000 on).
_TWO_BYTES, _FOUR_BYTES = 0xC4, 0xF0


@dataclass(frozen=True, slots=True)
class Shape:
    """The most that a body may hold of each."""

    strings: int
    objects: int
    values: int
    escapes: int
    #: Bytes of memory that its texts beyond Latin-1 may take.
    wide: int


def check_shape(body: bytes, most: int) -> None:
    """Raise BodyTooLarge where a request's body has over ``most`` strings or objects.

    Or ``OTHERS`` times as many values, ``ESCAPES`` times as many backslashes, or texts that may take ``WIDE`` times as
    many bytes.
    """
    found = _excess(body, Shape(most, most, OTHERS * most, ESCAPES * most, WIDE * most))
    if found is not None:
        raise BodyTooLarge(f"the body has over {found} (server.max_body_strings)", code="body_too_complex")


def check_answer(body: bytes | bytearray, most: int) -> None:
    """Raise UpstreamTooLarge where an answer has over ``most`` strings, or too many objects, values, escapes or bytes.

    By default it may have 40,000 tokens with their logprobs, or 8,000 with five alternatives each.
    """
    found = _excess(body, _answer_shape(most))
    if found is not None:
        raise UpstreamTooLarge(f"the upstream's answer has over {found} (server.max_answer_strings)")


def check_event(payload: bytes) -> None:
    """Raise UpstreamTooLarge where an event of a stream has over ``EVENT_STRINGS`` strings, or as much else."""
    found = _excess(payload, _answer_shape(EVENT_STRINGS))
    if found is not None:
        raise UpstreamTooLarge(f"the upstream sent an event with over {found}")


def _answer_shape(most: int) -> Shape:
    return Shape(most, most // STRINGS_EACH, ANSWER_OTHERS * most, ANSWER_ESCAPES * most, ANSWER_WIDE * most)


def _excess(body: bytes | bytearray, shape: Shape) -> str | None:
    """What a body has too much of, in words; None where nothing is."""
    if len(body) <= 2 * min(shape.strings, shape.objects):  # a value and its comma
        return None
    if len(body) > shape.escapes and _over(body, b"\\", shape.escapes):
        return f"{shape.escapes} escapes"
    bounds = ((b'"', 2 * shape.strings), (b",", shape.values), (b"{", shape.objects))
    many, may_be_wide = any(_over(body, *bound) for bound in bounds), 4 * len(body) > shape.wide
    plain = _unquoted(body) if many or may_be_wide else body
    found = _excess_outside(plain, shape) if many else None
    if found is None and may_be_wide and _wide(plain) > shape.wide:
        found = f"{shape.wide} bytes of text beyond Latin-1, as it is held in memory"
    return found


def _over(data: bytes | bytearray, sign: bytes, most: int) -> bool:
    """Whether ``sign`` stands more than ``most`` times in it; soon told where it stands everywhere.

    numpy counts three times as fast as ``bytes.count``, and gives the interpreter up meanwhile.
    """
    signs, found = np.frombuffer(data, np.uint8), 0
    for start in range(0, len(data), _BLOCK):
        found += int(np.count_nonzero(signs[start : start + _BLOCK] == ord(sign)))
        if found > most:
            return True
        pause()
    return False


def _unquoted(body: bytes | bytearray) -> bytes | bytearray:
    """The same without the escapes of quotes and of backslashes: every quote is a string's beginning or its end."""
    if b"\\" not in body:
        return body
    pieces, start = [], 0
    while start < len(body):
        end = start + _BLOCK
        while body[end - 1 : end] == b"\\":
            end += 1  # no escape is cut in two
        pieces.append(bytes(body[start:end]).replace(rb"\\", b"").replace(rb"\"", b""))
        start = end
        pause()
    return b"".join(pieces)


def _excess_outside(plain: bytes | bytearray, shape: Shape) -> str | None:
    """The same of what stands outside of strings."""
    if _over(plain, b'"', 2 * shape.strings):
        return f"{shape.strings} strings"
    outside = b"".join(plain.split(b'"')[::2])
    for sign, what, bound in ((b"{", "objects", shape.objects), (b",", "values", shape.values)):
        if _over(outside, sign, bound):
            return f"{bound} {what}"
    return None


def _wide(plain: bytes | bytearray) -> int:
    """Bytes that the strings with characters beyond Latin-1 take in memory: all of one as many as its widest (PEP 393).

    Never less: an escape without a code counts as two characters, and so does a surrogate pair.
    """
    signs = np.frombuffer(plain, np.uint8)
    widths, counts = np.empty(len(signs), np.uint8), np.empty(len(signs), np.int8)
    quotes = []
    for start in range(0, len(signs), _BLOCK):
        block, here = signs[start : start + _BLOCK], slice(start, start + _BLOCK)
        quotes.append(start + np.flatnonzero(block == ord('"')))
        widths[here] = 1 + (block >= _TWO_BYTES) + 2 * (block >= _FOUR_BYTES)
        counts[here] = (block & 0xC0) != 0x80  # a character's further bytes in UTF-8
        codes = start + np.flatnonzero(block == ord("\\"))
        codes = codes[codes < len(signs) - 2]
        codes = codes[signs[codes + 1] == ord("u")]
        # \ud800 to \udbff begin a pair; \ud000 to \ud7ff are Korean, and count as if they did.
        widths[codes] = np.where((signs[codes + 2] | 0x20) == ord("d"), 4, 2)
        counts[codes] = 1 - len("u0000")
        pause()
    ends = np.concatenate(quotes)
    ends = ends[: len(ends) // 2 * 2]
    if len(ends) == 0:
        return 0
    widest = np.maximum.reduceat(widths, ends)[::2]
    pause()
    lengths = np.add.reduceat(counts, ends, dtype=np.int64)[::2] - 1  # the quote
    return int((lengths * widest)[widest > 1].sum())
