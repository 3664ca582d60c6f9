"""The labelling queue: the audit sample in blocks, in the order of the draw; in a block, the least certain first.

Picking the most informative answers of the whole sample would make the labelled part non-random. Within a block that
is labelled completely, the order does not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.storage import AuditItem, Store

#: Answers in a block: few enough to finish in one session.
BLOCK = 25


async def block(
    store: Store, route: str, threshold: float | None, *, after: int = 0, size: int = BLOCK
) -> list[AuditItem]:
    """Return the next ``size`` unlabelled items after the place ``after``, the most informative first.

    Those are the items whose confidence is nearest to ``threshold`` (None: to each item's own threshold, or 0.5).
    Unmeasured items come last.
    """
    found = await store.audit(route, after=after, limit=size, labelled=False)

    def distance(item: AuditItem) -> tuple[bool, float, int]:
        confidence = item.decision.confidence
        middle = next((one for one in (threshold, item.decision.threshold) if one is not None), 0.5)
        return confidence is None, 0.0 if confidence is None else abs(confidence - middle), item.place

    return sorted((item for item, _ in found), key=distance)
