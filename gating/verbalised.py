"""Parsing of the confidence that a model states in words ("Confidence: 80%", "0.8", "80 out of 100")."""

from __future__ import annotations

import re

from gating.answers import fold
from gating.types import Unmeasured

_NUMBER = r"(?<![\w.+-])(?P<value>\d+(?:\.\d+)?|\.\d+)(?![\w]|\.\d)"
_OF = r"\s*(?:/|out of|of)\s*(?P<of>\d+)\b"
_STATED = re.compile(rf"{_NUMBER}(?:{_OF}|\s*(?P<percent>%|percent\b|per cent\b))?")
#: Words for a confidence. The number follows the word, or has a unit ("I am 90% sure").
_CALLED = re.compile(r"\b(?:confiden(?:ce|t)|probability|certain(?:ty)?|likelihood|sure)\b")
_RANGE = re.compile(r"\d\s*%?\s*(?:-|–|to)\s*\d")


def verbalised_confidence(text: str) -> float | Unmeasured:
    """Return the one probability in [0, 1] that ``text`` states, either alone or as a confidence.

    Numbers with a percent sign or a total ("80%", "8/10", "80 out of 100") are shares. Other numbers are
    probabilities if they have a decimal point or are 0, and percentages from 11 to 100. Everything ambiguous
    ("7", "1", "80-90%", two different numbers, none) is Unmeasured.
    """
    folded = fold(text)
    if _RANGE.search(folded):
        return Unmeasured("the stated confidence is a range")
    called = _CALLED.search(folded)
    found = list(_STATED.finditer(folded))
    if called:
        found = [match for match in found if match.start() > called.end()][:1] or [
            match for match in found if match["percent"] or match["of"]
        ]
    elif len(found) != 1 or re.sub(r"\W", "", _STATED.sub("", folded)):
        return Unmeasured("no confidence is stated")
    values = {_share(match) for match in found}
    if len(values) != 1:
        return Unmeasured("several confidences are stated" if values else "no confidence is stated")
    value = values.pop()
    return Unmeasured("the stated confidence is not a clear probability") if value is None else value


def _share(match: re.Match[str]) -> float | None:
    value = float(match["value"])
    if match["percent"]:
        share = value / 100.0
    elif match["of"]:
        whole = float(match["of"])
        share = value / whole if whole else 2.0
    elif "." in match["value"] or value == 0.0:
        share = value
    else:
        share = value / 100.0 if value > 10.0 else 2.0
    return share if share <= 1.0 else None
