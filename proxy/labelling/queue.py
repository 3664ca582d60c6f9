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

    Those are the nearest to ``threshold`` (None: to even odds); what could not be measured comes last.
    """
    found = await store.audit(route, after=after, limit=size, labelled=False)
    middle = 0.5 if threshold is None else threshold

    def distance(item: AuditItem) -> tuple[bool, float, int]:
        confidence = item.decision.confidence
        return confidence is None, 0.0 if confidence is None else abs(confidence - middle), item.place

    return sorted((item for item, _ in found), key=distance)
