"""How much a JSON body may hold, told before it is decoded: decoding cannot be interrupted, and all others wait.

A megabyte of text is decoded in a millisecond, a megabyte of empty keys in a hundred times that, with a hundred
times its bytes of memory, and a megabyte of escapes is written anew in ten times that. So the strings (every key is
one), the other values and the escapes of a body are counted first, by what bytes do fast; what is counted is exact
for JSON, and for anything else of no consequence.
"""

from __future__ import annotations

from proxy.exceptions import BodyTooLarge

#: How many numbers and other plain values for each string: a prompt may be given as tokens.
OTHERS = 8
#: How many backslashes for each string. Code has one in some thirty bytes: at the default bounds the longest prompt
#: that may come has a fifth of this, and text of nothing else is refused from 6.4 MB on.
ESCAPES = 100
_BLOCK = 262_144


def check_shape(body: bytes, most: int) -> None:
    """Raise BodyTooLarge where a body has over ``most`` strings or objects.

    Or ``OTHERS`` times as many values, or ``ESCAPES`` times as many backslashes.
    """
    if len(body) <= 2 * most:  # a value and its comma
        return
    if len(body) > ESCAPES * most and _over(body, b"\\", ESCAPES * most):
        raise _too_much("escapes", ESCAPES * most)
    if _over(body, b'"', 2 * most) or _over(body, b",", OTHERS * most) or _over(body, b"{", most):
        _check_outside(body, most)


def _over(data: bytes, sign: bytes, most: int) -> bool:
    """Whether ``sign`` stands more than ``most`` times in it; soon told where it stands everywhere."""
    found = 0
    for start in range(0, len(data), _BLOCK):
        found += data.count(sign, start, start + _BLOCK)
        if found > most:
            return True
    return False


def _check_outside(body: bytes, most: int) -> None:
    """The same without what stands inside of strings."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    if _over(plain, b'"', 2 * most):
        raise _too_much("strings", most)
    outside = b"".join(plain.split(b'"')[::2])
    for sign, what, bound in ((b"{", "objects", most), (b",", "values", OTHERS * most)):
        if _over(outside, sign, bound):
            raise _too_much(what, bound)


def _too_much(what: str, most: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has over {most} {what} (server.max_body_strings)", code="body_too_complex")
