"""The outcomes of grading an answer."""

from typing import Literal

#: ``undecided``: the rules cannot tell; a judge or a person must label the answer.
Label = Literal["correct", "incorrect", "abstained", "undecided"]
Decided = Literal["correct", "incorrect", "abstained"]
Kind = Literal["text", "number", "choice"]


def decided(label: Label) -> Decided:
    """Return the label with ``undecided`` as incorrect, for figures that must not overstate the right answers."""
    return "incorrect" if label == "undecided" else label
