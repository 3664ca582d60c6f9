"""Limits on how costly a JSON body may be to decode, checked before it is decoded.

Decoding cannot be interrupted, and every other request waits for it. A megabyte of text is decoded in a millisecond;
a megabyte of empty keys takes a hundred times as long and a hundred times its size in memory, and a megabyte of escapes
takes ten times as long to encode again. One character beyond U+FFFF makes every other character of its string take four
bytes. So the strings (each key is one), the other values, the escapes and the memory of the texts are counted first,
with fast operations on the bytes. The counts are exact for JSON (the memory is an upper bound); for anything that is
not JSON they do not matter, since decoding fails at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.exceptions import BodyTooLarge, UpstreamTooLarge
from proxy.server.body_thread import pause

#: The number of plain values, such as numbers, for each string of a request: a prompt may consist of token ids.
OTHERS = 8
#: The number of backslashes for each string of a request. Code has one in some thirty bytes, and a client may escape
#: every letter beyond ASCII: the default limits allow a prompt of a million tokens. A body of escapes alone is refused
#: from 3.2 MB on.
ESCAPES = 50
#: The bytes of memory for each string of a request that texts beyond Latin-1 may take when decoded, 16 MB by default:
#: a million tokens of English with an emoji, at four letters each.
WIDE = 512
#: The limits above, for an answer. By default it may have six times the strings; its tokens also come as bytes.
ANSWER_OTHERS, ANSWER_ESCAPES, ANSWER_WIDE = 3, 8, 80
#: The number of strings in one event of a stream. The last event of a response holds all of its tokens: 24,000 with
#: their logprobs, or 4,800 with five alternatives each. It is decoded whole, since it is encoded again: 30 ms for as
#: many keys.
EVENT_STRINGS = 120_000
#: The number of strings for each object of an answer: a token with its logprob has five, each alternative four.
STRINGS_EACH = 4
_BLOCK = 262_144
#: The first UTF-8 byte of characters that take two bytes in memory (from U+0100 on) or four (from U+10000 on).
_TWO_BYTES, _FOUR_BYTES = 0xC4, 0xF0


@dataclass(frozen=True, slots=True)
class Budget:
    """The largest number of each kind of thing that a body may hold."""

    strings: int
    objects: int
    values: int
    escapes: int
    #: The bytes of memory that texts beyond Latin-1 may take.
    wide: int


def check_request(body: bytes, most: int) -> None:
    """Raise BodyTooLarge if a request's body has over ``most`` strings or objects.

    It may have ``OTHERS`` times as many other values, ``ESCAPES`` times as many backslashes, and texts that take
    ``WIDE`` times as many bytes.
    """
    found = _excess(body, Budget(most, most, OTHERS * most, ESCAPES * most, WIDE * most))
    if found is not None:
        raise BodyTooLarge(f"the body has over {found} (server.max_body_strings)", code="body_too_complex")


def check_answer(body: bytes | bytearray, most: int) -> None:
    """Raise UpstreamTooLarge if an answer has over ``most`` strings, or too many objects, values, escapes or bytes.

    By default an answer may have 40,000 tokens with their logprobs, or 8,000 with five alternatives each.
    """
    found = _excess(body, _answer_budget(most))
    if found is not None:
        raise UpstreamTooLarge(f"the upstream's answer has over {found} (server.max_answer_strings)")


def check_event(payload: bytes) -> None:
    """Raise UpstreamTooLarge if one event of a stream has over ``EVENT_STRINGS`` strings, or too much of the rest."""
    found = _excess(payload, _answer_budget(EVENT_STRINGS))
    if found is not None:
        raise UpstreamTooLarge(f"the upstream sent an event with over {found}")


def _answer_budget(most: int) -> Budget:
    return Budget(most, most // STRINGS_EACH, ANSWER_OTHERS * most, ANSWER_ESCAPES * most, ANSWER_WIDE * most)


def _excess(body: bytes | bytearray, budget: Budget) -> str | None:
    """Return the limit that ``body`` exceeds, in words; None if it exceeds none."""
    if len(body) <= 2 * min(
        budget.strings, budget.objects
    ):  # each value takes two bytes: itself and its comma
        return None
    if len(body) > budget.escapes and _over(body, b"\\", budget.escapes):
        return f"{budget.escapes} escapes"
    bounds = ((b'"', 2 * budget.strings), (b",", budget.values), (b"{", budget.objects))
    many, may_be_wide = any(_over(body, *bound) for bound in bounds), 4 * len(body) > budget.wide
    plain = _unquoted(body) if many or may_be_wide else body
    found = _excess_outside(plain, budget) if many else None
    if found is None and may_be_wide and _wide(plain) > budget.wide:
        found = f"{budget.wide} bytes of text beyond Latin-1, as it is held in memory"
    return found


def _over(data: bytes | bytearray, sign: bytes, most: int) -> bool:
    """Return whether ``data`` holds ``sign`` more than ``most`` times; stop counting as soon as it does.

    numpy counts three times as fast as ``bytes.count`` and releases the interpreter lock.
    """
    signs, found = np.frombuffer(data, np.uint8), 0
    for start in range(0, len(data), _BLOCK):
        found += int(np.count_nonzero(signs[start : start + _BLOCK] == ord(sign)))
        if found > most:
            return True
        pause()
    return False


def _unquoted(body: bytes | bytearray) -> bytes | bytearray:
    """Return ``body`` without escaped quotes and backslashes, so that every quote begins or ends a string."""
    if b"\\" not in body:
        return body
    pieces, start = [], 0
    while start < len(body):
        end = start + _BLOCK
        while body[end - 1 : end] == b"\\":
            end += 1  # do not cut an escape in two
        pieces.append(bytes(body[start:end]).replace(rb"\\", b"").replace(rb"\"", b""))
        start = end
        pause()
    return b"".join(pieces)


def _excess_outside(plain: bytes | bytearray, budget: Budget) -> str | None:
    """Return the limit on strings, objects or values that is exceeded, in words; None if none is."""
    if _over(plain, b'"', 2 * budget.strings):
        return f"{budget.strings} strings"
    outside = b"".join(plain.split(b'"')[::2])
    for sign, what, bound in ((b"{", "objects", budget.objects), (b",", "values", budget.values)):
        if _over(outside, sign, bound):
            return f"{bound} {what}"
    return None


def _wide(plain: bytes | bytearray) -> int:
    """Return an upper bound of the memory in bytes for the strings with characters beyond Latin-1.

    All characters of a string take as many bytes as its widest one (PEP 393). A short escape counts as two characters,
    and so does a surrogate pair.
    """
    signs = np.frombuffer(plain, np.uint8)
    widths, counts = np.empty(len(signs), np.uint8), np.empty(len(signs), np.int8)
    quotes = []
    for start in range(0, len(signs), _BLOCK):
        block, here = signs[start : start + _BLOCK], slice(start, start + _BLOCK)
        quotes.append(start + np.flatnonzero(block == ord('"')))
        widths[here] = 1 + (block >= _TWO_BYTES) + 2 * (block >= _FOUR_BYTES)
        counts[here] = (block & 0xC0) != 0x80  # not a continuation byte of UTF-8
        codes = start + np.flatnonzero(block == ord("\\"))
        codes = codes[codes < len(signs) - 2]
        codes = codes[signs[codes + 1] == ord("u")]
        # \ud800 to \udbff begin a surrogate pair; \ud000 to \ud7ff are Korean, and are counted alike.
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
