"""How much a JSON body may hold, told before it is decoded: decoding cannot be interrupted, and all others wait.

A megabyte of text is decoded in a millisecond, a megabyte of empty keys in a hundred times that, with a hundred
times its bytes of memory, and a megabyte of escapes is written anew in ten times that. So the strings (every key is
one), the other values and the escapes of a body are counted first, by what bytes do fast; what is counted is exact
for JSON, and for anything else of no consequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.exceptions import BodyTooLarge, UpstreamTooLarge
from proxy.large import pause

#: How many numbers and other plain values for each string of a request: a prompt may be given as tokens.
OTHERS = 8
#: How many backslashes for each string of a request. Code has one in some thirty bytes, and a client may write every
#: letter beyond ASCII as one: at the default bounds a prompt of a million tokens may be. Text of nothing else is
#: refused from 3.2 MB on.
ESCAPES = 50
#: The same of an answer, which may have six times the strings by default; its tokens are given as bytes too.
ANSWER_OTHERS, ANSWER_ESCAPES = 3, 8
#: How many strings for each object of an answer: a token with its logprob has five, each of its alternatives four.
STRINGS_EACH = 4
_BLOCK = 262_144


@dataclass(frozen=True, slots=True)
class Shape:
    """The most that a body may hold of each."""

    strings: int
    objects: int
    values: int
    escapes: int


def check_shape(body: bytes, most: int) -> None:
    """Raise BodyTooLarge where a request's body has over ``most`` strings or objects.

    Or ``OTHERS`` times as many values, or ``ESCAPES`` times as many backslashes.
    """
    found = _excess(body, Shape(most, most, OTHERS * most, ESCAPES * most))
    if found is not None:
        raise BodyTooLarge(f"the body has over {found} (server.max_body_strings)", code="body_too_complex")


def check_answer(body: bytes | bytearray, most: int) -> None:
    """Raise UpstreamTooLarge where an answer has over ``most`` strings, or so many objects, values or escapes.

    By default it may have 40,000 tokens with their logprobs, or 8,000 with five alternatives each.
    """
    shape = Shape(most, most // STRINGS_EACH, ANSWER_OTHERS * most, ANSWER_ESCAPES * most)
    found = _excess(body, shape)
    if found is not None:
        raise UpstreamTooLarge(f"the upstream's answer has over {found} (server.max_answer_strings)")


def _excess(body: bytes | bytearray, shape: Shape) -> str | None:
    """What a body has too much of, in words; None where nothing is."""
    if len(body) <= 2 * min(shape.strings, shape.objects):  # a value and its comma
        return None
    if len(body) > shape.escapes and _over(body, b"\\", shape.escapes):
        return f"{shape.escapes} escapes"
    bounds = ((b'"', 2 * shape.strings), (b",", shape.values), (b"{", shape.objects))
    return _excess_outside(body, shape) if any(_over(body, *bound) for bound in bounds) else None


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


def _excess_outside(body: bytes | bytearray, shape: Shape) -> str | None:
    """The same without what stands inside of strings."""
    plain: bytes | bytearray = body
    if b"\\" in body:
        for escape in (rb"\\", rb"\""):
            plain = plain.replace(escape, b"")
            pause()
    if _over(plain, b'"', 2 * shape.strings):
        return f"{shape.strings} strings"
    outside = b"".join(plain.split(b'"')[::2])
    for sign, what, bound in ((b"{", "objects", shape.objects), (b",", "values", shape.values)):
        if _over(outside, sign, bound):
            return f"{bound} {what}"
    return None
