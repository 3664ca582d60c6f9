"""Disjoint splits of the answers by question, because answers to one question are not independent.

Labels that certify are dealt by a keyed hash of their question, with a fixed public key. A question keeps its split
when others are added, and there is no seed with which one could look for a luckier certificate.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Rows = NDArray[np.intp]


#: The key of the hash. It is public: its purpose is that no user can choose it for a result.
PUBLIC_KEY = b"idk: labels are dealt by question"


def place_of(text: str) -> float:
    """Return the place in [0, 1) of a question (or of one answer to it), by the keyed hash of ``text``."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6, key=PUBLIC_KEY).digest()
    return int.from_bytes(digest, "big") / 2.0**48


def deal(place: NDArray[np.float64], shares: Mapping[str, float]) -> dict[str, Rows]:
    """Return the rows of each split, ascending; ``place`` (n,) in [0, 1) is equal for answers to one question."""
    cuts = np.cumsum(list(shares.values()))[:-1]
    part = np.searchsorted(cuts, place, side="right")
    return {name: np.flatnonzero(part == number) for number, name in enumerate(shares)}


def first_of_each(group: NDArray[np.intp], place: NDArray[np.float64], rows: Rows) -> Rows:
    """Return the row with the lowest ``place`` (n,) of each group among ``rows`` (m,), ascending."""
    ordered = rows[np.argsort(place[rows], kind="stable")]
    _, first = np.unique(group[ordered], return_index=True)
    return np.sort(ordered[first])


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
