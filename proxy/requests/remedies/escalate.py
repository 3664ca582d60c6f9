"""Ask a stronger route, whose own gate decides, where this one withholds the whole answer."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from proxy.exceptions import HttpError, UpstreamError
from proxy.requests.remedies.base import handed_on, kept

if TYPE_CHECKING:
    from proxy.requests.exchange import Exchange, Judged
    from proxy.requests.remedies.base import Ask
    from proxy.requests.route import Route

logger = logging.getLogger("idk")


@dataclass(frozen=True, slots=True)
class Escalate:
    """Hands a request on to ``route``, and with it to whatever that one turns to; see ``Remedy``.

    A policy of ``route`` was fitted on its own requests, and those that another route could not answer are
    harder: no certificate of it covers them.
    """

    route: Route

    async def __call__(self, judged: Judged, answer: Ask) -> Judged:
        """The stronger route's answer, where its gate lets any of it out; else the first abstention."""
        first, began = judged.exchange, perf_counter()
        second = self._exchange(first)
        try:
            async with asyncio.timeout(first.route.config.budget.timeout_s):
                other = await answer(second)
        except TimeoutError:
            other, reason = None, "budget"
        except HttpError as exc:
            other, reason = None, None
            logger.warning("%s: escalated to %s: %s", first.route.name, self.route.name, exc)
            if isinstance(exc, UpstreamError):
                self.route.upstream_metrics.failed(exc.kind)
        first.waited += perf_counter() - began
        if other is None:
            return judged if reason is None else _for(judged, reason)
        if other.withheld:
            return kept(judged, other)
        return handed_on(judged, other, "escalate", certified=False)

    def _exchange(self, first: Exchange) -> Exchange:
        """The same request on the stronger route; a threshold of its own only where that route takes one."""
        config, gate = self.route.config, self.route.gate
        request = first.request
        if not (config.allow_override and gate is not None and gate.limit is not None):
            request = msgspec.structs.replace(request, threshold=None)
        second = first.another(self.route, first.surface, request, held=request.stream)
        if self.route.context is not None:
            second.found, second.context = first.found, first.context
        return second


def _for(judged: Judged, reason: str) -> Judged:
    """The same abstention for another reason."""
    verdict = judged.verdict
    decisions = tuple(replace(each, reason=reason) for each in verdict.decisions)
    choices = tuple(
        msgspec.structs.replace(each, reason=decision.reason)
        for each, decision in zip(verdict.report.choices, decisions, strict=True)
    )
    report = msgspec.structs.replace(verdict.report, choices=choices)
    return msgspec.structs.replace(
        judged, verdict=msgspec.structs.replace(verdict, decisions=decisions, report=report)
    )
