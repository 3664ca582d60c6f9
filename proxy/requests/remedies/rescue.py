"""The rescue: where the answer with context is withheld, the question is asked once without it.

Passages that do not help make a model refuse what it knows. Its answer without them goes out only if it passes: by
the calibrator and the threshold of rescued answers where the policy has such, else by those of answers without
passages.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from proxy.exceptions import HttpError, UpstreamError
from proxy.requests.prompt.context import instructed
from proxy.requests.remedies.base import handed_on, kept

if TYPE_CHECKING:
    from proxy.requests.exchange import Judged
    from proxy.requests.remedies.base import Ask

logger = logging.getLogger("idk")


@dataclass(frozen=True, slots=True)
class Rescue:
    """``instruct``: the question that is asked again says that passages may be irrelevant."""

    instruct: bool = False

    async def __call__(self, judged: Judged, answer: Ask) -> Judged:
        """The answer without context where it passes, else the first one's abstention.

        No certificate covers it: what is withheld depends on thresholds that the same labels chose.
        """
        exchange = judged.exchange
        found = exchange.found
        if found is None or found.without is None:
            return judged
        metrics = exchange.route.metrics
        request = found.without
        if self.instruct:
            request = await exchange.bodies.on_request(exchange.size, instructed, exchange.surface, request)
        alone = replace(exchange.route, remedies=())
        again = exchange.another(
            alone, exchange.surface, request, held=True, context=False, rescued=True, counted=False
        )
        began = perf_counter()
        try:
            async with asyncio.timeout(exchange.route.config.budget.timeout_s):
                second = await answer(again)
        except (HttpError, TimeoutError) as exc:
            logger.warning("%s: rescue: %s", exchange.route.name, exc or "out of time")
            if isinstance(exc, UpstreamError):
                exchange.route.upstream_metrics.failed(exc.kind)
            metrics.rescued("failed")
            return judged
        finally:
            exchange.waited += perf_counter() - began
        if not any(decision.served for decision in second.verdict.decisions):
            metrics.rescued("abstained")
            return kept(judged, second)
        metrics.rescued("served")
        return handed_on(judged, second, "rescue", certified=False)
