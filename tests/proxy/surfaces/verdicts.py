"""What the gate may have said, for tests of how it is rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gating.types import Decision
from proxy.surfaces.contract import Ask, Report, Verdict, report_choices

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.surfaces.contract import Completion

TEXT = "I don't know."
#: What the gate asks of an upstream: nothing, logprobs, or alternatives too.
NOTHING = Ask(None, {}, logprobs=False, top_logprobs=0)
LOGPROBS = Ask(None, {}, logprobs=True, top_logprobs=0)
TOPS = Ask(None, {}, logprobs=True, top_logprobs=5, alternatives=5)


def verdict(completion: Completion, withheld: Collection[int] = (), *, text: str = TEXT) -> Verdict:
    """Return a verdict that withholds the choices of these indices."""
    decisions = tuple(
        Decision("abstain", "below_threshold", 0.25, 0.5, -1.5, "logprobs")
        if choice.index in withheld
        else Decision("answer", "confident", 0.75, 0.5, -0.5, "logprobs")
        for choice in completion.choices
    )
    report = Report(
        "r", "enforce", "p", certified=False, choices=report_choices(decisions, completion.choices)
    )
    return Verdict(decisions, frozenset(withheld), report, text)
