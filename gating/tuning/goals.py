"""What a threshold is for, and how it is found: a certified risk, the cost of a wrong answer, or by hand."""

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

    from gating.tuning.judged import Judged
    from gating.types import Certificate

#: Shares of the labels. Certifying takes most: a bound needs errors that it can count. The pilot only says
#: where to begin, and 15 % of what the two have were measured to be enough (`tests/benchmarks/RISK.md`).
WITH_CERTIFICATE: Mapping[str, float] = {"fit": 0.30, "pilot": 0.08, "certify": 0.42, "test": 0.20}
WITHOUT: Mapping[str, float] = {"fit": 0.70, "test": 0.30}


class Choice(NamedTuple):
    """A threshold on the confidence, or None; its certificate; and, without one, what the data say instead.

    ``supported`` is a certificate of another, higher risk that holds in its place; ``labels_needed`` about how
    many labels in all would let this one pass, None where no number would.
    """

    threshold: float | None
    certificate: Certificate | None = None
    supported: Certificate | None = None
    labels_needed: int | None = None


@dataclass(frozen=True, slots=True)
class FixedThreshold:
    """``threshold`` in [0, 1] as it is given."""

    threshold: float

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        check_threshold(self.threshold, "threshold")

    @property
    def shares(self) -> Mapping[str, float]:
        """No label is needed to choose it."""
        return WITHOUT

    def choose(self, judged: Mapping[str, Judged], *, allow_estimate: bool = False) -> Choice:
        """The threshold itself."""
        return Choice(self.threshold)

    def expect(self, confidence: NDArray[np.float64]) -> float:
        """The threshold itself."""
        return self.threshold


@dataclass(frozen=True, slots=True)
class WrongCost:
    """A wrong answer costs as much as ``cost`` right ones are worth; see ``threshold_for_cost``."""

    cost: float

    def __post_init__(self) -> None:
        """Refuse what is no cost."""
        threshold_for_cost(self.cost)

    @property
    def shares(self) -> Mapping[str, float]:
        """No label is needed to choose it."""
        return WITHOUT

    def choose(self, judged: Mapping[str, Judged], *, allow_estimate: bool = False) -> Choice:
        """The confidence from which on answering pays."""
        return Choice(threshold_for_cost(self.cost))

    def expect(self, confidence: NDArray[np.float64]) -> float:
        """The confidence from which on answering pays."""
        return threshold_for_cost(self.cost)


@dataclass(frozen=True, slots=True)
class TargetRisk:
    """At most ``target_risk`` wrong among the answers, certified at level 1 - ``delta``."""

    target_risk: float
    delta: float = 0.1

    def __post_init__(self) -> None:
        """Refuse levels outside (0, 1)."""
        check_level(self.target_risk, "target risk")
        check_level(self.delta, "delta")

    @property
    def shares(self) -> Mapping[str, float]:
        """A split to begin from and one to certify on."""
        return WITH_CERTIFICATE

    def choose(self, judged: Mapping[str, Judged], *, allow_estimate: bool = False) -> Choice:
        """The split walk on the confidences: what is certified is the comparison that the gate makes.

        ``judged`` holds ``pilot`` and ``certify``. Where nothing passes, the best that the data support; with
        ``allow_estimate`` the threshold that looks right on both splits, which is no certificate.
        """
        pilot, certify = judged["pilot"], judged["certify"]
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
        """The lowest of these confidences (m,) from which on they promise the target, at most 1 - α. No certificate.

        They are taken at their word, and one more answer is counted as wrong: (Σ (1 - c) + 1) / (k + 1) <= α over the
        k most confident. Without it the choice of the most that still looks right goes over the target, as a choice by
        observed errors does (the correction of Angelopoulos et al. 2022, "Conformal Risk Control", for a loss of at
        most 1). From 1 - α on each answer keeps to the target by itself, however few they are.
        """
        falling = np.sort(confidence)[::-1]
        wrong = (np.cumsum(1.0 - falling) + 1.0) / (np.arange(1, falling.size + 1) + 1.0)
        kept = falling[wrong <= self.target_risk]
        return float(min(kept.min(initial=1.0), 1.0 - self.target_risk))

    def _estimate(self, pilot: Judged, certify: Judged) -> float | None:
        (pilot_confidence, pilot_labels), (confidence, labels) = pilot.labelled(), certify.labelled()
        both = np.concatenate([pilot_confidence, confidence]), np.concatenate([pilot_labels, labels])
        found = naive(Problem.of((), (), *both, self.target_risk, self.delta, None)).threshold
        return None if found is None else as_confidence(found)


Goal = FixedThreshold | WrongCost | TargetRisk


def as_confidence(threshold: float) -> float:
    """A threshold of the grid within [0, 1]: below all confidences it answers what 0 answers."""
    return min(max(threshold, 0.0), 1.0)


def counted(certificate: Certificate, certify: Judged) -> Certificate:
    """The certificate with every answer of its split in the total, the withheld ones too."""
    return replace(certificate, total=len(certify))


def in_all(certification_labels: int, certify: Judged) -> int:
    """About how many labels to bring so that so many usable ones come to certify."""
    usable = max(int(certify.usable.sum()), 1) / max(len(certify), 1)
    return ceil(certification_labels / (usable * WITH_CERTIFICATE["certify"]))
