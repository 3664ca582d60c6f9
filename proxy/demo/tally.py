"""Right, wrong and "I don't know", always answering against gated, and what each is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibrators.metrics import auroc, auroc_interval, group_bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.demo.asked import Asked

#: The confidence targets of Kalai et al. 2025; a wrong answer costs t/(1 - t) at target t.
TARGETS = (0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of questions."""

    right: int
    wrong: int
    abstained: int

    @property
    def error(self) -> float | None:
        """Wrong among answered, or None where nothing was."""
        answered = self.right + self.wrong
        return self.wrong / answered if answered else None

    def score(self, target: float) -> float:
        """The mean over all questions: right 1, wrong -t/(1 - t), "I don't know" 0."""
        n = self.right + self.wrong + self.abstained
        return (self.right - self.wrong * target / (1.0 - target)) / n


def tally(asked: Sequence[Asked], threshold: float | None = None) -> Tally:
    """The counts at a threshold on the confidence; None always answers."""
    labels = [one.label if threshold is None or one.served(threshold) else "abstained" for one in asked]
    return Tally(labels.count("correct"), labels.count("incorrect"), labels.count("abstained"))


def gain(asked: Sequence[Asked], target: float) -> tuple[float, tuple[float, float]]:
    """What gating at ``target`` adds to the score of a question, in the mean, with its 95 % interval.

    The same answers on both sides: a wrong one withheld saves its cost, a right one withheld is lost. The
    interval resamples whole facts (``group_bootstrap``); its seed is fixed.
    """
    worth = {"correct": -1.0, "incorrect": target / (1.0 - target), "abstained": 0.0}
    gains = np.array([0.0 if one.served(target) else worth[one.label] for one in asked])
    interval = group_bootstrap(
        lambda drawn, _: float(drawn.mean()),
        gains,
        np.array([one.label == "correct" for one in asked], dtype=float),
        np.random.default_rng(0),
        groups=[one.question.group for one in asked],
    )
    assert interval is not None  # noqa: S101 - a mean is always defined
    return float(gains.mean()), interval


def separation(asked: Sequence[Asked]) -> tuple[float, tuple[float, float]] | None:
    """The AUROC of the confidence with its 95 % interval; None where only one kind of answer is there."""
    known = [one for one in asked if one.label != "abstained" and one.confidence is not None]
    confidence = np.array([one.confidence for one in known], dtype=float)
    right = np.array([one.label == "correct" for one in known], dtype=float)
    value, interval = auroc(confidence, right), auroc_interval(confidence, right)
    return None if value is None or interval is None else (value, interval)
