"""Short texts: whether a statement gives an accepted answer, by tables of named steps with their sources.

A grader brings the answer to one spelling (``NORMALISERS``), searches it for the accepted answers and their
variants (``VARIANTS``) sentence by sentence, and looks for reasons against a match (``VETOES``). Where no accepted
answer is found, the share of its words in the answer decides between undecided and incorrect. The effect of each
step on 6,060 human judgements is in `tests/benchmarks/GRADING.md`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gating.answers import UNSPACED, fold, normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gating.grading.outcomes import Label

#: The data set on which the errors behind most steps were found.
EVOUNA = "errors on EVOUNA (Wang et al. 2023, 'Evaluating Open-QA Evaluation', arXiv:2305.12421)"
REPORTS = "public reports of users"

#: An accepted answer further back than this many sentences is undecided.
MAX_SENTENCES = 3
#: A sentence with more words is too long for a clear statement: undecided.
MAX_WORDS = 60
#: A denial in a statement of at most so many words denies the accepted answer itself.
SHORT_WORDS = 12
#: Least share of an accepted answer's content words for an undecided answer.
PARTIAL = 0.5

#: Boundary between two sentences.
SENTENCE = re.compile(
    r"(?i:(?<!\bst\.)(?<!\b[dm]r\.))(?<=[\w\"')*]{2}[.!?])\s+|\n+|(?<=[。！？])",
)
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_TITLES = (
    "prime minister|vice president|president|general|king|queen|emperor|prince|princess|pope|sir|dame|lord|lady|"
    "saint|st|dr|mr|mrs|ms|captain|sergeant|major|colonel|lieutenant|admiral|professor|senator|governor|judge|"
    "chief justice|justice"
)
_STOP_WORDS = frozenset(
    [
        *("the", "a", "an", "of", "in", "on", "at", "to", "for", "by", "with", "from", "as", "and", "or"),
        *("is", "was", "are", "were", "be", "it", "its", "that", "this"),
    ]
)
#: Function words that a lost space joins to the end of an answer: "singer Mariah Careyfor her album".
_LEAST_GLUED = 6
_UNSPACED = re.compile(f"[{UNSPACED}]")
_GLUED = r"(?=(?:for|in|and|is|was|as|on|at|of|to|from|with|by)\b)"
_WORD = re.compile(r"\w+")
#: A denial anywhere in a folded sentence or question.
_DENIAL = re.compile(r"\b(?:not|never|except|without|(?:is|are|was|were|do|does|did|ca|has|have)nt|cannot)\b")
_FOUND = "FOUND"  # replaces an accepted answer; folded text has no capitals


class Normaliser(NamedTuple):
    """A step that removes differences of spelling; ``folded`` says whether it works on folded text."""

    name: str
    source: str
    apply: Callable[[str], str]
    folded: bool = False


class Variant(NamedTuple):
    """A step that makes further spellings of an accepted answer."""

    name: str
    source: str
    make: Callable[[str], Iterable[str]]


class Veto(NamedTuple):
    """A reason against a match, as a pattern in folded text in which FOUND replaces the accepted answer.

    ``short`` is the outcome for a statement of at most SHORT_WORDS words, ``long`` for a longer one; None means
    that the match counts all the same.
    """

    name: str
    source: str
    pattern: re.Pattern[str]
    short: Label
    long: Label | None


def _decomposed(pattern: str) -> str:
    """Return a pattern in the Unicode form of folded text (NFKD)."""
    return unicodedata.normalize("NFKD", pattern)


def _sub(pattern: str, replacement: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(replacement, text)


NORMALISERS: tuple[Normaliser, ...] = (
    Normaliser(
        "citation marks",
        EVOUNA,
        # "Kimber1.", "2010.2", "[3]", "^4^", and a year with a mark: "20102".
        _sub(
            r"(?<=[A-Za-z)\]’\"'”][.!?,;:])\d{1,2}(?=\s|$)|(?<=[a-z]{3})\d{1,2}(?=[\s.,;:!?)]|$)"
            r"|\[\d+\]|\^\d+\^|(?<=\b1\d{3})\d{1,2}(?=[.,\s]|$)|(?<=\b20\d{2})\d(?=[.,\s]|$)",
            "",
        ),
    ),
    Normaliser("glued words", EVOUNA, _sub(r"(?<=[a-z]{2})(?=[A-Z][a-z])", " ")),
    Normaliser(
        "day before month",
        "date orders of CLDR (en-GB, en-US)",
        _sub(rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTHS})\b", r"\2 \1"),
        folded=True,
    ),
    Normaliser(
        "ordinal days",
        "date formats of CLDR (en-US)",
        _sub(rf"\b({_MONTHS}) (\d{{1,2}})(?:st|nd|rd|th)\b", r"\1 \2"),
        folded=True,
    ),
    Normaliser(
        "clock times",
        "time formats of CLDR (en-US)",
        lambda text: re.sub(
            r"(?<=\d)\s?([ap])\.?m\b\.?", r" \1m", re.sub(r"(?<=\d):00(?=\s?[ap]\.?m)", "", text)
        ),
        folded=True,
    ),
)


def _without_parentheses(text: str) -> Iterable[str]:
    return (re.sub(r"\s*\([^)]*\)", "", text),)


def _without_nickname(text: str) -> Iterable[str]:
    return (re.sub(r'\s*["“][^"”]*["”]', "", text),)


def _without_title(text: str) -> Iterable[str]:
    return (re.sub(rf"^(?:(?:the|{_TITLES})\b\.?\s+)+(?=\S+\s)", "", text, flags=re.IGNORECASE),)


def _first_and_last_name(text: str) -> Iterable[str]:
    words = text.split()
    names = len(words) == 3 and all(re.fullmatch(r"[A-Z](?:[\w'’-]+|\.)", word) for word in words)
    return (f"{words[0]} {words[-1]}",) if names else ()


VARIANTS: tuple[Variant, ...] = (
    Variant("without parentheses", "accepted answers of NQ-open: 'gold (Au)'", _without_parentheses),
    Variant("without a nickname", "accepted answers of NQ-open: 'Steven \"Steve\" Hale'", _without_nickname),
    Variant("without a title", EVOUNA, _without_title),
    Variant("first and last name", EVOUNA, _first_and_last_name),
)

_AND_OR = r"(?:\b(?:or|and)\b|/|&)"
_CONTINUES = (
    r"(?:its?|is|was|has|he|she|they|their|his|her|which|who|this|that|are|were|in|"
    r"located|also|not|an?|the)\b"
)
VETOES: tuple[Veto, ...] = (
    Veto(
        "denial",
        "this project",
        re.compile(
            r"(?:\b(?:not|never|no|neither|nor|unlike|except|without|cannot"
            r"|(?:is|was|are|were|do|does|did|ca|has|have|wo)nt)"
            r"|\b(?:rather|other) than|\binstead of)(?:[^\w,;:.]+(?!but\b)\w+){0,2}[^\w,;:.]+"
            rf"{_FOUND}|{_FOUND}\W+(?:(?:is|was|are|were|does|did|do|has|can)(?:nt|\W+not)"
            r"|(?:is|was) (?:wrong|incorrect|false))\b"
            # Chinese and Thai, whose denial precedes; then Japanese and Korean, whose denial follows.
            + _decomposed(
                rf"|(?:不是|并非|並非|不在|ไม่ใช่)\W*{_FOUND}"
                rf"|{_FOUND}\W*(?:(?:では|じゃ)(?:ない|ありません|なく)|(?:가|이|은|는)?\W*아(?:니|닙|닌))"
            )
        ),
        short="incorrect",
        long="undecided",
    ),
    Veto(
        "alternatives",
        "this project",
        re.compile(
            rf"{_FOUND}\W*(?:\bor\b|/)(?!\W*{_FOUND})|(?<!{_FOUND})(?<!{_FOUND},)(?:\bor\b|/)\W*(?:the )?{_FOUND}"
        ),
        short="incorrect",
        long=None,
    ),
    Veto(
        "hedge",
        "this project",
        re.compile(
            rf"\b(?:candidates|options|either|perhaps|maybe|possibly|could be|might be|may be)\b(?=.*{_FOUND})"
            rf"|{_FOUND}.*\b(?:perhaps|maybe)\b"
        ),
        short="undecided",
        long=None,
    ),
    Veto(
        "conjunction",
        EVOUNA,
        re.compile(
            rf"{_FOUND}\s*,?\s*{_AND_OR}\s*+(?!{_FOUND}|{_CONTINUES})"
            rf"|(?<!{_FOUND})(?<!{_FOUND},)\s{_AND_OR}\s+(?:the )?{_FOUND}"
        ),
        short="undecided",
        long=None,
    ),
)
_BESIDE = re.compile(
    rf"(?:(?<={_FOUND}[,;])|(?<={_FOUND} [,;])).*|^.*[,;](?=\s*(?:(?:and|or)\s)?(?:the )?{_FOUND})"
)
_LISTED = re.compile(r",|;|\bor\b|\band\b")
#: Other short items beside the accepted answer: "Paris, France" names one thing, "Paris, Lyon, Rome" three.
_MANY = 2


@dataclass(frozen=True, slots=True)
class TextGrader:
    """The rules for texts. The benchmark leaves single steps out to measure their effect."""

    normalisers: tuple[Normaliser, ...] = NORMALISERS
    variants: tuple[Variant, ...] = VARIANTS
    vetoes: tuple[Veto, ...] = VETOES
    plurals: bool = True
    glued_ends: bool = True
    any_order: bool = True

    def grade(self, answer: str, accepted: Sequence[str], question: str | None = None) -> Label:
        """Return whether ``answer`` gives one of the ``accepted`` answers, or ``undecided``.

        ``question``, where it is given, explains denials that repeat it ("Which city is not a capital?").
        """
        pattern = self._pattern(accepted)
        clean = self._normalised(answer, accepted)
        sentences = [part for part in SENTENCE.split(clean.strip()) if part.strip()]
        outcome: Label = "incorrect"
        for place, sentence in enumerate(sentences):
            found = self._sentence(
                sentence, pattern, denied=question is not None and _DENIAL.search(fold(question)) is not None
            )
            if found is not None and place >= MAX_SENTENCES:
                found = "undecided"
            if found == "correct":
                return "correct"
            if found == "undecided":
                outcome = "undecided"
        if outcome == "undecided" or pattern.search(self._folded(clean)):
            return outcome
        return self._by_words(sentences, accepted)

    def _by_words(self, sentences: Sequence[str], accepted: Sequence[str]) -> Label:
        """Grade an answer in which no accepted answer occurs, by the content words of the accepted answers.

        All words of one (at least two) in any order within a sentence: correct. Half of them: undecided.
        """
        folded = [self._folded(sentence) for sentence in sentences]
        held = [{_stem(word) for word in _WORD.findall(sentence)} for sentence in folded]
        everywhere = set().union(*held)
        wanted = [set(map(_stem, _content_words(self._folded(text)))) for text in accepted]
        if self.any_order:
            for words, sentence in zip(held[:MAX_SENTENCES], folded, strict=False):
                if not _DENIAL.search(sentence) and any(len(each) > 1 and each <= words for each in wanted):
                    return "correct"
        partial = any(each and len(each & everywhere) >= PARTIAL * len(each) for each in wanted)
        return "undecided" if partial else "incorrect"

    def _normalised(self, answer: str, accepted: Sequence[str]) -> str:
        """Apply the steps for unfolded text that do not change an accepted answer ("Windows95" is one)."""
        for step in self.normalisers:
            if not step.folded and all(step.apply(text) == text for text in accepted):
                answer = step.apply(answer)
        return answer

    def _folded(self, text: str) -> str:
        text = fold(text)
        for step in self.normalisers:
            if step.folded:
                text = step.apply(text)
        return text

    def _pattern(self, accepted: Sequence[str]) -> re.Pattern[str]:
        """Return the pattern that finds accepted answers and their variants in folded text."""
        spellings = dict.fromkeys(accepted)
        for text in accepted:
            for variant in self.variants:
                spellings.update(dict.fromkeys(variant.make(text)))
        known = dict.fromkeys(filter(None, (normalise(self._folded(text)) for text in spellings)))
        return whole_words(list(known), plurals=self.plurals, glued_ends=self.glued_ends)

    def _sentence(self, sentence: str, pattern: re.Pattern[str], *, denied: bool) -> Label | None:
        """Return the outcome of one sentence, or None where no accepted answer occurs in it."""
        marked = pattern.sub(_FOUND, self._folded(sentence))
        if _FOUND not in marked:
            return None
        size = len(sentence.split())
        if size > MAX_WORDS:
            return "undecided"
        short = size <= SHORT_WORDS
        for veto in self.vetoes:
            if veto.pattern.search(marked) and not (denied and veto.name == "denial"):
                outcome = veto.short if short else veto.long
                if outcome is not None:
                    return outcome
        if short and sum(map(_count_items, _BESIDE.findall(marked))) >= _MANY:
            return "undecided"
        return "correct"


def whole_words(texts: Sequence[str], *, plurals: bool = False, glued_ends: bool = False) -> re.Pattern[str]:
    """Return a pattern that finds normalised ``texts`` as whole words in folded text.

    A text of one or two letters ("He", "I") is found only at the end. Scripts without spaces between words have no
    word boundaries; one character of such a script must be a whole word.
    """
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(_one_text(text, plurals, glued_ends) for text in longest_first) or r"(?!)")


def _one_text(text: str, plurals: bool, glued_ends: bool) -> str:
    """Return the pattern of one normalised text, with its boundaries."""
    gap = r"\W+(?:(?:an?|the)\W+)?"
    words = gap.join(re.escape(word) + (_plural_of(word) if plurals else "") for word in text.split())
    edge_free = [len(text) > 1 and _UNSPACED.match(text[place]) is not None for place in (0, -1)]
    start = "" if edge_free[0] else rf"(?:(?<!\w)|(?<=[{UNSPACED}]))"
    if edge_free[1]:
        # A final consonant of Korean belongs to the syllable before it: "파린" does not contain "파리".
        return f"{start}{words}(?![\u11a8-\u11ff])"
    glued = f"|{_GLUED}" if glued_ends and len(text) >= _LEAST_GLUED else ""
    at_end = r"(?=\W*$)" if len(text) <= 2 else ""
    return rf"{start}{words}(?:(?!\w)|(?=[{UNSPACED}]){glued}){at_end}"


def _plural_of(word: str) -> str:
    """Return the pattern of an English plural ending for words of four letters or more."""
    return "(?:e?s)?" if len(word) >= 4 and word.isascii() and word[-1].isalpha() else ""


def _content_words(folded: str) -> list[str]:
    """Return the words that carry meaning: numbers, and words of three letters or more that are no stop words."""
    words = _WORD.findall(folded)
    return [word for word in words if word not in _STOP_WORDS and (len(word) > 2 or word.isdigit())]


def _stem(word: str) -> str:
    for ending in ("ies", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)]
    return word


def _count_items(run: str) -> int:
    """Count the short items in a run that a comma joins to the accepted answer."""
    items = [item.strip() for item in _LISTED.split(run)]
    return sum(bool(item) and len(item.split()) <= 3 and not re.match(_CONTINUES, item) for item in items)


TEXT = TextGrader()
