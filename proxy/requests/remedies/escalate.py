"""The escalation: if the whole answer is withheld, another route is asked, and its own gate decides."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from proxy.exceptions import HttpError, UpstreamError, failure_summary
from proxy.requests.remedies.reports import handed_on, kept

if TYPE_CHECKING:
    from proxy.requests.exchange import Exchange, Outcome
    from proxy.requests.pipeline import Pipeline

logger = logging.getLogger("idk")


@dataclass(frozen=True, slots=True)
class Escalate:
    """Hands a request to the ``stronger`` route's pipeline, which may use remedies in turn.

    The stronger route's policy was fitted on that route's own requests. Those that another route could not answer are
    harder, so its certificate does not cover them.
    """

    stronger: Pipeline

    async def __call__(self, outcome: Outcome, pipeline: Pipeline) -> Outcome:
        """Return the stronger route's answer if its gate serves any of it, otherwise the first abstention."""
        first, began = outcome.exchange, perf_counter()
        route = self.stronger.route
        second = self._exchange(first)
        try:
            async with asyncio.timeout(first.route.config.budget.timeout_s):
                other = await self.stronger.answer(second)
        except TimeoutError:
            other, reason = None, "budget"
        except HttpError as exc:
            other, reason = None, None
            logger.warning("%s: escalated to %s: %s", first.route.name, route.name, failure_summary(exc))
            if isinstance(exc, UpstreamError):
                route.upstream_metrics.failed(exc.kind)
        first.spent.waited += perf_counter() - began
        if other is None:
            return outcome if reason is None else _for(outcome, reason)
        if other.withheld:
            return kept(outcome, other)
        return handed_on(outcome, other, "escalate", certified=False)

    def _exchange(self, first: Exchange) -> Exchange:
        """Return the same request on the stronger route, with its own threshold only if that route takes one."""
        route = self.stronger.route
        config, gate = route.config, route.gate
        request = first.request
        if not (config.allow_override and gate is not None and gate.limit is not None):
            request = msgspec.structs.replace(request, threshold=None)
        context = {} if route.context is None else {"found": first.found, "context": first.context}
        return first.another(route, first.surface, request, held=request.stream, **context)


def _for(outcome: Outcome, reason: str) -> Outcome:
    """Return the same abstention with another reason."""
    verdict = outcome.verdict
    decisions = tuple(replace(each, reason=reason) for each in verdict.decisions)
    choices = tuple(
        msgspec.structs.replace(each, reason=decision.reason)
        for each, decision in zip(verdict.report.choices, decisions, strict=True)
    )
    report = msgspec.structs.replace(verdict.report, choices=choices)
    return msgspec.structs.replace(
        outcome, verdict=msgspec.structs.replace(verdict, decisions=decisions, report=report)
    )
