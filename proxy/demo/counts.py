"""Counts of right, wrong and withheld answers, with and without the gate, and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibrators.metrics import auroc, auroc_interval, group_bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.demo.client import GradedAnswer

#: The confidence targets of Kalai et al. 2025; a wrong answer costs t/(1 - t) at target t.
TARGETS = (0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of right, wrong and withheld answers."""

    right: int
    wrong: int
    abstained: int

    @property
    def error(self) -> float | None:
        """The share of wrong answers among those given; None where no answer was given."""
        answered = self.right + self.wrong
        return self.wrong / answered if answered else None

    def score(self, target: float) -> float:
        """Return the mean score of a question: right 1, wrong -t/(1 - t), "I don't know" 0."""
        n = self.right + self.wrong + self.abstained
        return (self.right - self.wrong * target / (1.0 - target)) / n


def count(asked: Sequence[GradedAnswer], threshold: float | None = None) -> Counts:
    """Count the answers at a threshold on the confidence; None always answers."""
    labels = [one.label if threshold is None or one.served(threshold) else "abstained" for one in asked]
    return Counts(labels.count("correct"), labels.count("incorrect"), labels.count("abstained"))


def gain(asked: Sequence[GradedAnswer], target: float) -> tuple[float, tuple[float, float]]:
    """Return the mean gain in score per question from gating at ``target``, with its 95 % interval.

    The same answers are compared with and without the gate: withholding a wrong one saves its cost, withholding a
    right one loses its value. The interval resamples whole facts (``group_bootstrap``) with a fixed seed.
    """
    gain_of = {"correct": -1.0, "incorrect": target / (1.0 - target), "abstained": 0.0}
    gains = np.array([0.0 if one.served(target) else gain_of[one.label] for one in asked])
    interval = group_bootstrap(
        lambda drawn, _: float(drawn.mean()),
        gains,
        np.array([one.label == "correct" for one in asked], dtype=float),
        np.random.default_rng(0),
        groups=[one.question.group for one in asked],
    )
    assert interval is not None  # noqa: S101 - the mean is defined for every resample
    return float(gains.mean()), interval


def separation(asked: Sequence[GradedAnswer]) -> tuple[float, tuple[float, float]] | None:
    """Return the AUROC of the confidence with its 95 % interval; None where all answers have the same label."""
    known = [one for one in asked if one.label != "abstained" and one.confidence is not None]
    confidence = np.array([one.confidence for one in known], dtype=float)
    right = np.array([one.label == "correct" for one in known], dtype=float)
    value, interval = auroc(confidence, right), auroc_interval(confidence, right)
    return None if value is None or interval is None else (value, interval)
