"""What to label next: the random sample in the order of its draw, block by block, in a block the unsure first.

Whoever picked the most informative ones of the whole sample would label no random part of it. Within a block
that is labelled to its end the order is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.storage import AuditItem, Store

#: Few enough to be finished at one sitting.
BLOCK = 25


async def block(
    store: Store, route: str, threshold: float | None, *, after: int = 0, size: int = BLOCK
) -> list[AuditItem]:
    """The next ``size`` items without a label from beyond the place ``after``, the most informative first.

    Those are the nearest to ``threshold`` (None: to what was in force then, or even odds); what could
    not be measured comes last.
    """
    found = await store.audit(route, after=after, limit=size, labelled=False)

    def distance(item: AuditItem) -> tuple[bool, float, int]:
        confidence = item.decision.confidence
        middle = next((one for one in (threshold, item.decision.threshold) if one is not None), 0.5)
        return confidence is None, 0.0 if confidence is None else abs(confidence - middle), item.place

    return sorted((item for item, _ in found), key=distance)
