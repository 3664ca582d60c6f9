"""Reports of a remedy: an answer that is served in place of an abstention, or an abstention that stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from proxy.surfaces.contract import Extra, Step, Verdict

if TYPE_CHECKING:
    from proxy.requests.exchange import Outcome
    from proxy.surfaces.contract import Report


def handed_on(first: Outcome, second: Outcome, decision: str, *, certified: bool) -> Outcome:
    """Return the ``second`` outcome in place of the first. Choices that its gate serves are reported as ``decision``.

    The first answer counts as a further call. ``certified`` says whether the certificate of the second gate's policy
    covers requests that reach it through a remedy.
    """
    given = second.verdict
    served = [each.decision == "answer" for each in given.decisions]
    decisions = tuple(
        replace(each, decision=decision) if goes else each
        for each, goes in zip(given.decisions, served, strict=True)
    )
    choices = tuple(
        msgspec.structs.replace(each, decision=decision) if goes else each
        for each, goes in zip(given.report.choices, served, strict=True)
    )
    report = msgspec.structs.replace(
        first.verdict.report,
        policy=given.report.policy,
        certified=certified and given.report.certified,
        choices=choices,
        extra=_sum(first.verdict.report.extra, _of_answer(first), given.report.extra),
        steps=(*_steps(first.verdict.report), *_steps(given.report)),
    )
    verdict = Verdict(decisions, given.withheld, report, first.verdict.abstain_text, given.without_thoughts)
    return msgspec.structs.replace(second, verdict=verdict)


def kept(first: Outcome, second: Outcome) -> Outcome:
    """Return the first abstention, with the cost of a ``second`` answer that was withheld too."""
    given = second.verdict.report
    report = msgspec.structs.replace(
        first.verdict.report,
        extra=_sum(first.verdict.report.extra, _of_answer(second), given.extra),
        steps=(*_steps(first.verdict.report), *_steps(given)),
    )
    return msgspec.structs.replace(first, verdict=msgspec.structs.replace(first.verdict, report=report))


def _steps(report: Report) -> tuple[Step, ...]:
    if isinstance(report.steps, tuple):
        return report.steps
    return (Step(report.route, report.policy, report.certified, report.choices),)


def _of_answer(outcome: Outcome) -> Extra:
    """Return the cost of an answer that is not sent.

    A cancelled stream has no token counts; the tokens that were read are a lower bound.
    """
    completion = outcome.completion
    counted = completion.completion_tokens
    if counted is None:
        logprobs = (choice.evidence.token_logprobs for choice in completion.choices)
        counted = sum(len(each) for each in logprobs if isinstance(each, list))
    return Extra(1, completion.prompt_tokens or 0, counted)


def _sum(*extras: Extra) -> Extra:
    return Extra(
        sum(extra.calls for extra in extras),
        sum(extra.prompt_tokens for extra in extras),
        sum(extra.completion_tokens for extra in extras),
    )
