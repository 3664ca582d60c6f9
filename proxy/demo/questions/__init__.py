"""The project's own question set: short factual questions made from tables of facts, easy to very hard.

The facts are in the tab-separated tables beside this module; arithmetic and Roman numerals are computed. The set is
the same in every run, with a fixed order and fixed seeds. The questions ask for a few words and belong after
``SYSTEM_PROMPT``.
"""

from proxy.demo.questions.build import SYSTEM_PROMPT, Question, questions, sample, split_by_fact

__all__ = ["SYSTEM_PROMPT", "Question", "questions", "sample", "split_by_fact"]
