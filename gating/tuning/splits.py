"""Disjoint splits of the answers by question, because answers to one question are not independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Rows = NDArray[np.intp]


def split(group: NDArray[np.intp], shares: Mapping[str, float], rng: np.random.Generator) -> dict[str, Rows]:
    """Return the rows of each split, ascending; ``group`` (n,) are numbers from 0, and ``shares`` sum to 1.

    Groups are concatenated in random order and cut at the shares of the rows. A group belongs to the split that
    contains its middle.
    """
    sizes = np.bincount(group)
    order = rng.permutation(sizes.size)
    ends = np.cumsum(sizes[order])
    middles = (ends - sizes[order] / 2) / max(group.size, 1)
    cuts = np.cumsum(list(shares.values()))[:-1]
    part = np.empty(sizes.size, dtype=np.intp)
    part[order] = np.searchsorted(cuts, middles, side="right")
    return {name: np.flatnonzero(part[group] == place) for place, name in enumerate(shares)}


def one_of_each(group: NDArray[np.intp], rows: Rows, rng: np.random.Generator) -> Rows:
    """Return one row of each group among ``rows`` (m,), drawn at random, ascending; binomial bounds need this."""
    shuffled = rng.permutation(rows)
    _, first = np.unique(group[shuffled], return_index=True)
    return np.sort(shuffled[first])
