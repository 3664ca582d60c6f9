"""The project's own question set: short factual questions made from tables of facts, easy to very hard.

The facts stand in the tab-separated tables beside this module; arithmetic and Roman numerals are computed.
The set is the same in every run: a fixed order, seeds of its own. The questions ask for a few words and are
meant to be put after ``SYSTEM_PROMPT``.
"""

from proxy.demo.questions.build import SYSTEM_PROMPT, Question, questions, sample

__all__ = ["SYSTEM_PROMPT", "Question", "questions", "sample"]
