"""Goals of tuning: a certified risk, a cost of wrong answers, or a fixed threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gating.policy import check_threshold
from gating.risk import check_level
from gating.rules import naive
from gating.supported import best_supported, labels_needed
from gating.threshold import threshold_for_cost
from gating.walk import Problem, choose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gating.tuning.scored import ScoredAnswers
    from gating.types import Certificate

#: Shares of the labels. Certifying takes most of them, because a bound needs errors that it can count. The fit labels
#: also choose where the walk starts, and the figures are computed on the certification labels, which the fit does not
#: use: neither needs a split.
WITH_CERTIFICATE: Mapping[str, float] = {"fit": 0.20, "certify": 0.80}
#: With fewer questions than this a fifth is too few to choose a scorer by, so that more of them are fitted on.
FEW_QUESTIONS = 400
WITH_FEW: Mapping[str, float] = {"fit": 0.40, "certify": 0.60}
WITHOUT: Mapping[str, float] = {"fit": 0.70, "test": 0.30}


class Choice(NamedTuple):
    """A threshold on the confidence, or None; its certificate; and, without one, what the data support instead.

    ``supported`` is a certificate for a higher risk. ``labels_needed`` is an estimate of the number of labels
    that would certify the target, None where no number is expected to.
    """

    threshold: float | None
    certificate: Certificate | None = None
    supported: Certificate | None = None
    labels_needed: int | None = None


@dataclass(frozen=True, slots=True)
class FixedThreshold:
    """The goal of a given ``threshold`` in [0, 1] on the confidence."""

    threshold: float

    def __post_init__(self) -> None:
        """Raise GatingError unless the threshold lies in [0, 1]."""
        check_threshold(self.threshold, "threshold")

    @property
    def shares(self) -> Mapping[str, float]:
        """No label is needed to choose it."""
        return WITHOUT

    def choose(self, answers: Mapping[str, ScoredAnswers], *, allow_estimate: bool = False) -> Choice:
        """Return the given threshold."""
        return Choice(self.threshold)

    def expect(self, confidence: NDArray[np.float64]) -> float:
        """Return the given threshold."""
        return self.threshold


@dataclass(frozen=True, slots=True)
class WrongCost:
    """The goal of the best mean score where a wrong answer costs ``cost`` right ones (``threshold_for_cost``)."""

    cost: float

    def __post_init__(self) -> None:
        """Raise GatingError unless the cost is finite and >= 0."""
        threshold_for_cost(self.cost)

    @property
    def shares(self) -> Mapping[str, float]:
        """No label is needed to choose it."""
        return WITHOUT

    def choose(self, answers: Mapping[str, ScoredAnswers], *, allow_estimate: bool = False) -> Choice:
        """Return the confidence from which on answering pays."""
        return Choice(threshold_for_cost(self.cost))

    def expect(self, confidence: NDArray[np.float64]) -> float:
        """Return the confidence from which on answering pays."""
        return threshold_for_cost(self.cost)


@dataclass(frozen=True, slots=True)
class TargetRisk:
    """The goal of at most ``target_risk`` wrong among the answers, certified at level 1 - ``delta``."""

    target_risk: float
    delta: float = 0.1

    def __post_init__(self) -> None:
        """Raise GatingError on levels outside (0, 1)."""
        check_level(self.target_risk, "target risk")
        check_level(self.delta, "delta")

    @property
    def shares(self) -> Mapping[str, float]:
        """Labels to fit on and labels to certify on."""
        return WITH_CERTIFICATE

    def choose(self, answers: Mapping[str, ScoredAnswers], *, allow_estimate: bool = False) -> Choice:
        """Choose by the split walk on the confidences, so that the certificate covers the gate's comparison.

        ``answers`` holds ``pilot`` (the fit labels, or a split) and ``certify``. Where nothing passes, the choice
        says what the data support; with ``allow_estimate`` it has the threshold whose observed risk on both splits
        meets the target, which is not a certificate.
        """
        pilot, certify = answers["pilot"], answers["certify"]
        problem = Problem.of(*pilot.labelled(), *certify.labelled(), self.target_risk, self.delta, None)
        chosen = choose(problem)
        if chosen.threshold is not None and chosen.certificate is not None:
            return Choice(as_confidence(chosen.threshold), counted(chosen.certificate, certify))
        supported = best_supported(problem).certificate
        needed = labels_needed(problem)
        return Choice(
            self._estimate(pilot, certify) if allow_estimate else None,
            supported=None if supported is None else counted(supported, certify),
            labels_needed=None if needed is None else in_all(needed, certify),
        )

    def expect(self, confidence: NDArray[np.float64]) -> float:
        """Return the lowest threshold at which these confidences (m,) predict the target risk, at most 1 - α.

        The k most confident answers are expected to meet the target where (Σ (1 - c) + 1) / (k + 1) <= α. The added
        wrong answer corrects for the choice of k (Angelopoulos et al. 2022, "Conformal Risk Control", for a loss of
        at most 1). From the confidence 1 - α on, each answer meets the target by itself. This is an estimate, not
        a certificate.
        """
        falling = np.sort(confidence)[::-1]
        wrong = (np.cumsum(1.0 - falling) + 1.0) / (np.arange(1, falling.size + 1) + 1.0)
        kept = falling[wrong <= self.target_risk]
        return float(min(kept.min(initial=1.0), 1.0 - self.target_risk))

    def _estimate(self, pilot: ScoredAnswers, certify: ScoredAnswers) -> float | None:
        (pilot_confidence, pilot_labels), (confidence, labels) = pilot.labelled(), certify.labelled()
        both = np.concatenate([pilot_confidence, confidence]), np.concatenate([pilot_labels, labels])
        found = naive(Problem.of((), (), *both, self.target_risk, self.delta, None)).threshold
        return None if found is None else as_confidence(found)


Goal = FixedThreshold | WrongCost | TargetRisk


def shares_of(goal: Goal, questions: int) -> Mapping[str, float]:
    """Return the goal's shares of the labels, or WITH_FEW where it has the default and there are few questions."""
    few = questions < FEW_QUESTIONS and goal.shares is WITH_CERTIFICATE
    return WITH_FEW if few else goal.shares


def as_confidence(threshold: float) -> float:
    """Clip a threshold of the grid to [0, 1]; thresholds below all confidences answer what 0 answers."""
    return min(max(threshold, 0.0), 1.0)


def counted(certificate: Certificate, certify: ScoredAnswers) -> Certificate:
    """Return the certificate with every answer of its split in the total, including unmeasured ones."""
    return replace(certificate, total=len(certify))


def in_all(certification_labels: int, certify: ScoredAnswers) -> int:
    """Estimate how many labels are needed in all for so many usable certification labels."""
    usable = max(int(certify.usable.sum()), 1) / max(len(certify), 1)
    return ceil(certification_labels / (usable * WITH_CERTIFICATE["certify"]))
