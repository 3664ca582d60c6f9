"""Disjoint splits, by question and never by answer: answers to one question are not independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Rows = NDArray[np.intp]


def split(group: NDArray[np.intp], shares: Mapping[str, float], rng: np.random.Generator) -> dict[str, Rows]:
    """The rows of each split, ascending; ``group`` (n,) numbers from 0, ``shares`` of the rows sum to 1.

    Whole groups, in a random order, are laid end to end and cut at the shares; a group goes where its middle
    lies.
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
    """Of ``rows`` (m,) one of each group, drawn at random, ascending: what a binomial bound may count."""
    shuffled = rng.permutation(rows)
    _, first = np.unique(group[shuffled], return_index=True)
    return np.sort(shuffled[first])
