"""The rescue: if the answer with context is withheld, the question is asked once more without the context.

Passages that do not help make a model refuse what it knows. The answer without them is sent only if it passes the
calibrator and threshold of rescued answers; a policy that has none uses those of answers without passages.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from proxy.exceptions import HttpError, UpstreamError, failure_summary
from proxy.requests.prompt.context import instructed
from proxy.requests.remedies.reports import handed_on, kept

if TYPE_CHECKING:
    from proxy.requests.exchange import Outcome
    from proxy.requests.pipeline import Pipeline

logger = logging.getLogger("idk")


@dataclass(frozen=True, slots=True)
class Rescue:
    """Asks again without the context; with ``instruct``, the question says that passages may be irrelevant."""

    instruct: bool = False

    async def __call__(self, outcome: Outcome, pipeline: Pipeline) -> Outcome:
        """Return the answer without context if it passes, otherwise the first abstention.

        No certificate covers a rescued answer: which answers are withheld depends on thresholds that the same labels
        chose.
        """
        exchange = outcome.exchange
        route, found = exchange.route, exchange.found
        if found is None or found.without is None:
            return outcome
        request = found.without
        if self.instruct:
            request = await exchange.bodies.on_request(exchange.size, instructed, exchange.surface, request)
        again = exchange.another(
            route, exchange.surface, request, held=True, context=False, rescued=True, counted=False
        )
        began = perf_counter()
        try:
            async with asyncio.timeout(route.config.budget.timeout_s):
                second = await replace(pipeline, remedies=()).answer(again)
        except (HttpError, TimeoutError) as exc:
            late = isinstance(exc, TimeoutError)
            reason = "the route's budget.timeout_s is over" if late else failure_summary(exc)
            logger.warning("%s: rescue failed: %s", route.name, reason)
            if isinstance(exc, UpstreamError):
                route.upstream_metrics.failed(exc.kind)
            route.metrics.rescued("failed")
            return outcome
        finally:
            exchange.spent.waited += perf_counter() - began
        if not any(decision.served for decision in second.verdict.decisions):
            route.metrics.rescued("abstained")
            return kept(outcome, second)
        route.metrics.rescued("served")
        return handed_on(outcome, second, "rescue", certified=False)
