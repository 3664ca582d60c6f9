"""Finding an answer among its tokens where the server spells them differently, or sends more of them.

Seen on real servers: tokens past a stop string (vLLM, TGI), end-of-turn tokens of the chat template, byte tokens such
as ``<0xC3>`` (SentencePiece with byte fallback), ``Ġ`` and ``Ċ`` (byte-level BPE), ``▁`` (SentencePiece),
``token_id:123`` (vLLM with ``return_tokens_as_token_ids``), and code fences that the server removed from the content
(llama.cpp under a JSON schema).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from gating.types import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_TOKEN_ID: Final = re.compile(r"token_id:\d+")
#: What may precede the answer: white space and the opening of a code fence.
_BEFORE: Final = re.compile(r"\s*(?:```[\w+-]*[ \t]*\r?\n)?\s*")
#: What may follow the answer if its text was removed on purpose: white space, the end of a fence, template tokens.
_AFTER: Final = re.compile(
    r"\s*(?:```)?\s*(?:(?:<\|[^<>]*\|>|<｜[^<>]*｜>|\[\|[^\[\]]*\|\]|</s>|<eos>|<end_of_turn>)\s*)*"
)
_IDS: Final = Unmeasured("the tokens are ids (token_id:…) without their text")
#: The reason that ``gating.evidence`` gives too.
NO_MATCH: Final = Unmeasured("tokens do not match the content")


def _byte_level() -> dict[str, int]:
    """Return the byte for each character of byte-level BPE (GPT-2's ``bytes_to_unicode``, inverted)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTE_LEVEL: Final = _byte_level()


def align(text: str, tokens: Sequence[str]) -> slice | Unmeasured:
    """Return the place of the answer's tokens among ``tokens`` (n,); Unmeasured if that is not certain."""
    if any(map(_TOKEN_ID.fullmatch, tokens)):
        return _IDS
    for spell in _SPELLINGS:
        spelled = [spell(token) for token in tokens]
        found = _place(text.strip().encode(), spelled)
        if not isinstance(found, Unmeasured):
            return found
    return NO_MATCH


def _place(text: bytes, tokens: Sequence[bytes]) -> slice | Unmeasured:
    """Return the place of the tokens that spell ``text``, which has no white space at its ends."""
    said = b"".join(tokens)
    start = said.find(text)
    if start < 0:
        return NO_MATCH
    end = start + len(text)
    before, after = said[:start].decode(errors="replace"), said[end:].decode(errors="replace")
    if not _BEFORE.fullmatch(before):
        return NO_MATCH
    # After a fence the answer ends with the fence. Else the server cut the text at a stop string: any text may follow.
    if before.strip() and not _AFTER.fullmatch(after):
        return NO_MATCH
    ends = list(accumulate(map(len, tokens)))
    return slice(bisect_right(ends, start), bisect_left(ends, end) + 1)


def _plain(token: str) -> bytes:
    """Spell a token as it is, apart from byte tokens."""
    found = _BYTE.fullmatch(token)
    return bytes.fromhex(found[1]) if found else token.encode()


def _sentencepiece(token: str) -> bytes:
    """Spell a token of SentencePiece, which writes a space as U+2581."""
    return _plain(token.replace("\u2581", " "))


def _byte_level_bpe(token: str) -> bytes:
    """Spell a token of byte-level BPE, which writes each byte as one character."""
    if all(character in _BYTE_LEVEL for character in token):
        return bytes(_BYTE_LEVEL[character] for character in token)
    return _plain(token)


_SPELLINGS: Final[tuple[Callable[[str], bytes], ...]] = (_plain, _sentencepiece, _byte_level_bpe)
