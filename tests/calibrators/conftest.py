"""What the tests of this package share: draws of known truth, and the real generations where they are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

GENERATIONS = "generations/qwen2.5-coder-0.5b.jsonl"


@pytest.fixture
def draw() -> Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Draw ``draw(n, seed, slope, offset)`` -> scores (n,), labels (n,) of a logistic truth."""

    def drawn(
        n: int, seed: int = 0, slope: float = 0.7, offset: float = -0.5, digits: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        scores = rng.normal(0, 2, n)
        if digits is not None:
            scores = np.round(scores, digits)
        correct = (rng.random(n) < 1 / (1 + np.exp(-(slope * scores + offset)))).astype(float)
        return scores, correct

    return drawn


@pytest.fixture
def real() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean logprob as log-odds and the labels of a small model's real answers."""
    data = Path(os.environ.get("IDK_DATA", Path(__file__).parents[2] / "../shared/data"))
    path = data / GENERATIONS
    if not path.exists():
        pytest.skip(f"{path} is not here: set IDK_DATA to the folder that holds {GENERATIONS}")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row for row in rows if row["label"] != "abstained" and row["token_logprobs"]]
    logprob = np.array([np.mean(np.maximum(row["token_logprobs"], -50.0)) for row in rows])
    logprob = np.minimum(logprob, -1e-6)
    scores = logprob - np.log(-np.expm1(logprob))
    return scores, np.array([row["label"] == "correct" for row in rows], dtype=float)
