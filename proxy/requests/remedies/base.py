"""What a remedy is: where the verdict withholds a whole answer, it may bring another that is served instead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import msgspec

from proxy.surfaces.contract import Extra, Step, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.requests.exchange import Exchange, Judged
    from proxy.surfaces.contract import Report

    #: Asks, gathers, judges and remedies another exchange, and holds what came of it. Raises HttpError.
    Ask = Callable[[Exchange], Awaitable[Judged]]


class Remedy(Protocol):
    """One object for a route, shared by its requests."""

    async def __call__(self, judged: Judged, answer: Ask) -> Judged:
        """What shall go out in place of ``judged``, which is withheld whole; see ``handed_on`` and ``kept``.

        The other ``Exchange`` is to be ``held``. A failing upstream is not raised: the abstention stands.
        """
        ...


def handed_on(first: Judged, second: Judged, decision: str, *, certified: bool) -> Judged:
    """The ``second`` answer in place of the first: what its gate serves is reported as ``decision``.

    The first answer was paid for too, and counts as a further call. ``certified`` is whether the certificate
    of the second gate's policy holds for the requests that come to it so.
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
    verdict = Verdict(decisions, given.withheld, report, first.verdict.abstain_text)
    return msgspec.structs.replace(second, verdict=verdict)


def kept(first: Judged, second: Judged) -> Judged:
    """The first answer's abstention, after a ``second`` answer that was no better and was paid for."""
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


def _of_answer(judged: Judged) -> Extra:
    """What an answer cost that does not go out. Of a stream that was cut no count came: at least what was read."""
    completion = judged.completion
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
