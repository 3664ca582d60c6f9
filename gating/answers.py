"""Normalise an answer's text, and recognise an answer that declines ("I don't know").

``normalise`` follows SQuAD's evaluation (Rajpurkar et al. 2016: case, punctuation, articles, whitespace) and
goes further where short answers differ in spelling only: Unicode form, accents, thousands separators, dotted
initials, number words. ``is_abstention`` recognises refusals by a table of patterns for each language. It is
strict: every clause must decline or be an aside ("Please ask a librarian."), so that a hedge followed by an
answer stays an answer.
"""

from __future__ import annotations

import re
import unicodedata
from types import MappingProxyType
from typing import TYPE_CHECKING

from gating.refusals import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNITS = (
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBER_WORDS = MappingProxyType(
    {word: value for value, word in enumerate(_UNITS)}
    | {word: 10 * value for value, word in enumerate(_TENS, start=2)}
)
_NUMBER_WORD = re.compile(
    rf"\b(?:(?P<hundred>(?:a|one) hundred)"
    rf"|(?P<tens>{'|'.join(_TENS)})(?:[- ](?P<unit>{'|'.join(_UNITS[1:10])}))?"
    rf"|(?P<small>{'|'.join(sorted(_UNITS, key=len, reverse=True))}))\b"
)
_ACCENT = re.compile("[\u0300-\u036f]")  # combining marks of Latin, Greek and Cyrillic; not Indic vowels
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_INITIALS = re.compile(r"\b(?:[a-z]\.\s?){2,}")
_APOSTROPHE = re.compile("['‘’ʻʼ`´]")
_SIGN_OR_MARK = re.compile(
    r"(?P<sign>(?<![^\W_])-(?=\d)|(?<![^\W\d])\.(?=\d)|(?<=[a-z])[+#]+)|[^\w\s%°$€£]|_"
)
_ARTICLE = re.compile(r"\b(?:an?|the)\b(?=\s+\w)")
#: A dash of another kind before a number is a minus sign ("–3"); between two numbers it is a range.
_DASH_SIGN = re.compile(r"(?<![\w)])[‒–—‐](?=\d|\.\d)")
#: Characters of scripts that write no spaces between words, or attach particles to them, as a character class: Thai,
#: Lao, Burmese, Khmer, Korean (decomposed and composed), kana, Chinese characters.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff"
)


def fold(text: str) -> str:
    """Return ``text`` in one case, Unicode form and spelling of numbers and initials; punctuation is kept."""
    text = _ACCENT.sub("", unicodedata.normalize("NFKD", text)).casefold()
    text = _THOUSANDS.sub("", _DASH_SIGN.sub("-", _APOSTROPHE.sub("", text).replace("−", "-")))
    text = _INITIALS.sub(lambda initials: re.sub(r"[.\s]", "", initials[0]) + " ", text)
    return _NUMBER_WORD.sub(_digits, text)


def normalise(text: str) -> str:
    """Return the spelling that equal answers share: folded, without punctuation and articles, single-spaced.

    A decimal point, a number's minus sign and the signs of "C++" and "C#" are kept. An "a" at the end of the
    text ("vitamin A") is not treated as an article.
    """
    text = _SIGN_OR_MARK.sub(lambda mark: mark["sign"] or " ", fold(text))
    return " ".join(_ARTICLE.sub(" ", text).split())


def _digits(match: re.Match[str]) -> str:
    if match["hundred"]:
        return "100"
    if match["tens"]:
        return str(_NUMBER_WORDS[match["tens"]] + _NUMBER_WORDS.get(match["unit"] or "zero", 0))
    return str(_NUMBER_WORDS[match["small"]])


MAX_ABSTENTION_CHARS = 600
"""Longer texts are taken for answers: no refusal of the measured models came near, and reading costs time."""

_HEAD_CHARS = 200  # a refusal begins the text, so its cue occurs in the first sentence


def _any(parts: Iterable[str]) -> str:
    return "(?:" + "|".join(parts) + ")"


def _table(name: str) -> list[str]:
    return [part for language in LANGUAGES.values() for part in getattr(language, name)]


_CUES = tuple(dict.fromkeys(_table("cues")))
_LEAD = re.compile(_any(_table("leads")) + r"(?:[:,]\s*|\s+|$)")
_DECLINE = re.compile(_any(_table("declines")))
_ASIDE = re.compile(_any(_table("asides")))
_GUESS = re.compile(_any(_table("guesses")))
_CLAUSE = re.compile(
    r"(?<!\b[a-z])(?<!\b[dms]r)(?<!\bst)[.!?…]+(?=[\s\"')*]|$)|[;\n]+|:\s|\s[-–—]+\s|"
    rf"(?:,|\s)\s*{_any(re.escape(word) for word in _table('contrasts'))}(?=[\s,]),?"
)
_EDGES = " \t\r\n\"'“”‘’«»*_()[].,!?-–—"


def is_abstention(text: str) -> bool:
    """Return whether the model declines to answer: every clause refuses or is an aside, and none answers.

    ``text`` is the whole answer. "I'm not sure, but I think it is Paris" is an answer, and so is every text
    longer than ``MAX_ABSTENTION_CHARS``. The length and a search for cue words come before any pattern, so that
    ordinary answers cost little.
    """
    if len(text) > MAX_ABSTENTION_CHARS:
        return False
    head = text[:_HEAD_CHARS].lower()
    for cue in _CUES:  # a plain loop, since this runs for every answer and a generator takes longer
        if cue in head:
            break
    else:
        return False
    declined, rest = False, text.lower().replace("’", "'")
    while rest:
        clause, *following = _CLAUSE.split(rest, maxsplit=1)
        rest = following[0] if following else ""
        if clause := clause.strip(_EDGES):
            reading = _reading(clause)
            if reading == "answers":
                return False
            declined = declined or reading == "declines"
    return declined


def _reading(clause: str) -> str:
    """Classify a clause as ``declines``, ``aside`` or ``answers``."""
    while lead := _LEAD.match(clause):
        clause = clause[lead.end() :]
    if not clause:
        return "aside"
    declined = _DECLINE.match(clause)
    said = declined or _ASIDE.match(clause)
    if said is None:
        return "answers"
    rest = clause[said.end() :]
    if _GUESS.search(rest) or (rest.startswith(",") and _reading(rest[1:].strip()) == "answers"):
        return "answers"
    return "declines" if declined else "aside"
