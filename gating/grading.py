"""Right, wrong, or the model's own "I don't know": an answer held against the accepted ones.

Deterministic and by rule, so that a label can be made again. Three kinds of answer are told apart:

``text``    equal after normalising, or an accepted answer as whole words in one short statement that neither
            denies it nor offers other candidates beside it.
``number``  the number that the answer ends in (after "=", "the answer is", or the last one). A whole accepted
            number must be met exactly, since a year or a sum that is one off is wrong; another within
            ``RELATIVE_TOLERANCE``.
``choice``  the letter that the answer gives, else the one option whose text it contains.
"""

from __future__ import annotations

import math
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from gating.answers import fold, is_abstention, normalise
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Label = Literal["correct", "incorrect", "abstained"]
Kind = Literal["text", "number", "choice"]

RELATIVE_TOLERANCE = 0.005
"""Allowed for accepted numbers with a fractional part: three significant digits (3.14 for pi)."""

MAX_STATEMENT_WORDS = 30
"""Where the accepted answer is looked for: a sentence longer than this is an essay, not an answer."""

MAX_SENTENCES = 2
"""Sentences in which it is looked for; what comes later is talk around the answer."""

_SCALES = MappingProxyType(
    {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
)
_NUMBER = (
    r"(?P<sign>(?<![\w)])-\s?)?(?<![\w.])[$€£]?(?P<digits>\d+(?:\.\d+)?|\.\d+)(?!\d|(?:st|nd|rd|th)\b)(?:e(?P<power>[+-]?\d{1,2})\b)?"
    rf"(?:\s*(?P<scale>{'|'.join(_SCALES)})\b)?"
)
_ANY_NUMBER = re.compile(_NUMBER)
_WHOLE_NUMBER = re.compile(_NUMBER + r"\s*[%€£]?")
#: What a calculation or a statement ends in, in folded text.
CONCLUSION = re.compile(
    r"(?:=|\banswer(?: is)?|^a:|####|boxed\{)[^\w\n.-]*(?:(?:about|approximately|around|roughly) )?"
    + _NUMBER,
    re.MULTILINE,
)
_SEVERAL_NUMBERS = re.compile(
    r"\d\s*(?:\bor\b|\bto\b|[-–/])\s*\d[\d.]*[^\d]*$|\bbetween\b[^\d]*[\d.]+ and [\d.]+[^\d]*$"
)
_NOT = re.compile(r"\b(?:not|isnt|wasnt|never)\W+$")
_YEAR = re.compile(r"1\d{3}|20\d{2}")

_FOUND = "FOUND"  # replaces an accepted answer; folded text has no capitals
_DENIED = re.compile(
    r"(?:\b(?:not|never|no|neither|nor|unlike|except|without|cannot|(?:is|was|are|were|do|does|did|ca|has|have|wo)nt)"
    r"|\b(?:rather|other) than|\binstead of)(?:[^\w,;:.]+(?!but\b)\w+){0,2}[^\w,;:.]+"
    rf"{_FOUND}|{_FOUND}\W+(?:(?:is|was|are|were|does|did|do|has|can)(?:nt|\W+not)"
    r"|(?:is|was) (?:wrong|incorrect|false))\b"
)
#: Between two sentences.
SENTENCE = re.compile(r"(?i:(?<!\bst\.)(?<!\b[dm]r\.))(?<=[\w\"')*]{2}[.!?])\s+|\n+")
_AND_OR = r"(?:\b(?:or|and)\b|/|&)"
_CONTINUES = (
    r"(?:its?|is|was|has|he|she|they|their|his|her|which|who|this|that|are|were|in|"
    r"located|also|not|an?|the)\b"
)
_CONJOINED = re.compile(
    rf"{_FOUND}\s*,?\s*{_AND_OR}\s*+(?!{_FOUND}|{_CONTINUES})"
    rf"|(?<!{_FOUND})(?<!{_FOUND},)\s{_AND_OR}\s+(?:the )?{_FOUND}"
)
_BESIDE = re.compile(
    rf"(?:(?<={_FOUND}[,;])|(?<={_FOUND} [,;])).*|^.*[,;](?=\s*(?:(?:and|or)\s)?(?:the )?{_FOUND})"
)
_LISTED = re.compile(r",|;|\bor\b|\band\b")
_MANY = (
    2  # other short items beside the accepted one: "Paris, France" names one thing, "Paris, Lyon, Rome" three
)

_LONE_LETTER = re.compile(
    r"\W*(?:(?:the )?(?:correct |right |best )?(?:answer|option|choice)(?: is)?\W*(?:option |choice )?)?"
    r"([a-z])\W*",
    re.IGNORECASE,
)
_MARKED_LETTER = re.compile(r"\W*([A-Z])(?:[).:](?!\w)|\s+[-–]\s)(?!\W*[A-Z][).:])")
_NAMED_LETTER = re.compile(
    r"(?i:\b(?:answer|option|choice)(?: is)?:?\W{1,4}(?:(?:option|choice) )?)\W{0,3}([A-Z])"
    r"(?![\w'])(?!,? (?:or|and) [A-Z]\b)"
)


def grade(
    answer: str,
    accepted: Sequence[str],
    *,
    choices: Sequence[str] | None = None,
    kind: Kind | None = None,
) -> Label:
    """``correct``, ``incorrect`` or ``abstained``.

    ``answer`` is the model's text, ``accepted`` every right answer with its aliases; for a choice these are
    texts of ``choices`` or their letters (A for the first). ``kind`` is inferred where it is not given:
    ``choice`` with ``choices``, ``number`` where every accepted answer is one, else ``text``. An accepted
    answer that reads like a refusal ("Unknown") is right where it is met word for word.

    Raises ``GatingError`` for no accepted answers, an unknown kind, accepted answers that are no number or
    none of the choices.
    """
    wanted = tuple(dict.fromkeys(filter(None, map(normalise, accepted))))
    if not wanted:
        raise GatingError("answers: at least one accepted answer with a letter or digit in it is needed")
    kind = kind or _kind(wanted, choices)
    if kind not in _GRADERS:
        raise GatingError(f"kind: {kind!r} is unknown; use one of {', '.join(_GRADERS)}")
    if normalise(answer) in wanted:
        return "correct"
    if is_abstention(answer):
        return "abstained"
    return "correct" if _GRADERS[kind](answer, wanted, choices or ()) else "incorrect"


def _kind(wanted: Sequence[str], choices: Sequence[str] | None) -> Kind:
    if choices:
        return "choice"
    return "number" if all(lone_number(text) is not None for text in wanted) else "text"


def _right_text(answer: str, wanted: Sequence[str], _: Sequence[str]) -> bool:
    return any(_names(sentence, wanted) for sentence in SENTENCE.split(answer.strip())[:MAX_SENTENCES])


def _names(sentence: str, wanted: Sequence[str]) -> bool:
    """Return whether a short statement gives an accepted answer, and no other."""
    if len(sentence.split()) > MAX_STATEMENT_WORDS:
        return False
    marked = _whole_words(wanted).sub(_FOUND, fold(sentence))
    if _FOUND not in marked or _DENIED.search(marked) or _CONJOINED.search(marked):
        return False
    return sum(map(_count_items, _BESIDE.findall(marked))) < _MANY


def _count_items(run: str) -> int:
    """Short items in a run that a comma joins to the accepted answer."""
    items = [item.strip() for item in _LISTED.split(run)]
    return sum(bool(item) and len(item.split()) <= 3 and not re.match(_CONTINUES, item) for item in items)


def _whole_words(wanted: Sequence[str]) -> re.Pattern[str]:
    """Finds accepted answers in folded text. One of up to two letters ("He", "I") counts at the end only."""
    gap = r"\W+(?:(?:an?|the)\W+)?"
    longest_first = sorted(wanted, key=len, reverse=True)
    words = (
        gap.join(map(re.escape, text.split())) + (r"(?=\W*$)" if len(text) <= 2 else "")
        for text in longest_first
    )
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)")


def _right_number(answer: str, wanted: Sequence[str], _: Sequence[str]) -> bool:
    targets = [lone_number(text) for text in wanted]
    if None in targets:
        raise GatingError(
            f"answers: {wanted[targets.index(None)]!r} is no number; give one, or use kind text"
        )
    stated = stated_number(fold(answer), is_year=all(_YEAR.fullmatch(text) for text in wanted))
    return stated is not None and any(_near(stated, target) for target in targets if target is not None)


def stated_number(text: str, *, is_year: bool) -> float | None:
    """Return the number that a folded answer concludes with, or None where there is none or it is ambiguous."""
    if conclusions := list(CONCLUSION.finditer(text)):
        return _read(conclusions[-1])
    numbers = list(_ANY_NUMBER.finditer(text))
    years = [number for number in numbers if _YEAR.fullmatch(number["digits"])]
    if is_year and len({year["digits"] for year in years}) == 1:  # "In 1969, Apollo 11 landed."
        numbers = years[:1]
    if not numbers or _SEVERAL_NUMBERS.search(text) or _NOT.search(text[: numbers[-1].start()]):
        return None
    return _read(numbers[-1])


def lone_number(text: str) -> float | None:
    """Return the number that a normalised text consists of, or None where it is anything else."""
    match = _WHOLE_NUMBER.fullmatch(text)
    return _read(match) if match else None


def _read(match: re.Match[str]) -> float:
    value = float(match["digits"]) * _SCALES.get(match["scale"], 1.0) * 10.0 ** int(match["power"] or 0)
    return -value if match["sign"] else value


def _near(stated: float, target: float) -> bool:
    return math.isclose(stated, target, rel_tol=1e-9 if target.is_integer() else RELATIVE_TOLERANCE)


def _right_choice(answer: str, wanted: Sequence[str], choices: Sequence[str]) -> bool:
    options = [normalise(choice) for choice in choices]
    letters = [chr(ord("a") + place) for place in range(len(options))]
    right = {
        letter
        for letter, option in zip(letters, options, strict=True)
        if option in wanted or letter in wanted
    }
    if not choices:
        right = {text for text in wanted if re.fullmatch("[a-z]", text)}
    if not right:
        raise GatingError(f"answers: {', '.join(wanted)} is neither one of the choices nor the letter of one")
    letter = stated_letter(answer)
    if letter is not None:
        return letter in right
    named = {
        letter for letter, option in zip(letters, options, strict=True) if option and _names(answer, [option])
    }
    return bool(named) and named <= right


def stated_letter(answer: str) -> str | None:
    """Return the letter of the choice that an answer gives ("B", "B. weather", "The answer is B") in lower case."""
    letter = _LONE_LETTER.fullmatch(answer) or _MARKED_LETTER.match(answer) or _NAMED_LETTER.search(answer)
    return letter[1].lower() if letter else None


_GRADERS: Mapping[str, Callable[[str, Sequence[str], Sequence[str]], bool]] = MappingProxyType(
    {"text": _right_text, "number": _right_number, "choice": _right_choice}
)
