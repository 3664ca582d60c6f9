"""Pool adjacent violators: the best non-decreasing fit to ordered means."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Block(NamedTuple):
    """Neighbouring levels that share one mean: ``end`` is one past the last of them."""

    end: int
    right: float
    total: float


def pool(right: Iterable[float], total: Iterable[float]) -> list[Block]:
    """Return blocks with strictly increasing means of ``right`` (k,) / ``total`` (k,), in O(k).

    Ayer et al. 1955; each level enters once and leaves at most once. Means are compared by cross-multiplying,
    which is exact for counts.
    """
    blocks: list[Block] = []
    for end, (one_right, one_total) in enumerate(zip(right, total, strict=True), start=1):
        block_right, block_total = one_right, one_total
        while blocks and blocks[-1].right * block_total >= block_right * blocks[-1].total:
            _, left_right, left_total = blocks.pop()
            block_right += left_right
            block_total += left_total
        blocks.append(Block(end, block_right, block_total))
    return blocks
