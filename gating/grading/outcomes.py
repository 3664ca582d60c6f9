"""The outcomes of grading an answer."""

from typing import Literal

#: ``undecided``: the rules cannot tell; a judge or a person must label the answer.
Label = Literal["correct", "incorrect", "abstained", "undecided"]
Kind = Literal["text", "number", "choice"]
