"""One score of one scorer or of several, with the log-odds that the calibrator reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from gating.logistic import fit_logistic
from gating.saved import REMEDY, Saved
from gating.transform import TO_LOG_ODDS
from gating.types import GatingError, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from gating.scorers import Scorer
    from gating.types import Evidence


class Reading(NamedTuple):
    """A raw score, as it is reported, and its log-odds, as the calibrator takes it."""

    score: float
    log_odds: float


class Combination(Protocol):
    """How the scorers of a policy become one score; never decreasing in any of them."""

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """In the order of the policy's file."""
        ...

    def read(self, evidence: Evidence) -> Reading | Unmeasured:
        """The one score."""
        ...

    def join(self, scores: Sequence[float | Unmeasured]) -> Reading | Unmeasured:
        """The same from what the scorers (n,) said of the evidence, in their order."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: ``kind`` and the learnt parameters, without the scorers."""
        ...


@dataclass(frozen=True, slots=True)
class Single:
    """One scorer as it stands: the score is its own."""

    scorer: Scorer

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """The one."""
        return (self.scorer,)

    def read(self, evidence: Evidence) -> Reading | Unmeasured:
        """The scorer's score, and its log-odds."""
        return self.join((self.scorer.score(evidence),))

    def join(self, scores: Sequence[float | Unmeasured]) -> Reading | Unmeasured:
        """The first and only score, and its log-odds."""
        (score,) = scores
        if isinstance(score, Unmeasured):
            return score
        return Reading(score, TO_LOG_ODDS[self.scorer.scale](score))

    def to_dict(self) -> dict[str, Any]:
        """Nothing is learnt."""
        return {"kind": "single"}

    @classmethod
    def load(cls, scorers: tuple[Scorer, ...], saved: Saved) -> Single:
        """The one scorer of the file."""
        if len(scorers) != 1:
            raise GatingError(f"{saved.place}: kind single takes one scorer, not {len(scorers)}; {REMEDY}")
        return cls(scorers[0])


@dataclass(frozen=True, slots=True)
class Term:
    """What one scorer adds: ``weight * (log-odds - centre)``, or ``missing`` where it is unmeasured.

    ``missing`` is None where no answer of the fit lacked this scorer: its worth is unknown then.
    """

    weight: float
    centre: float
    missing: float | None

    def __post_init__(self) -> None:
        """Refuse a weight that would break monotony; NaN is none that is >= 0."""
        if not self.weight >= 0.0:
            raise GatingError(
                f"policy.combination: a term's weight must be >= 0, not {self.weight}; {REMEDY}"
            )


@dataclass(frozen=True, slots=True)
class Logistic:
    """Log-odds of several scorers, weighted by a logistic regression; their sum is the score."""

    scorers: tuple[Scorer, ...]
    bias: float
    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        """Refuse terms that are not the scorers'."""
        if len(self.scorers) != len(self.terms) or not self.terms:
            raise GatingError(
                f"policy.combination: has {len(self.terms)} terms for {len(self.scorers)} scorers; {REMEDY}"
            )

    @classmethod
    def fit(
        cls,
        scorers: Sequence[Scorer],
        rows: Sequence[Sequence[float | Unmeasured]],
        correct: ArrayLike,
        *,
        l2: float = 1.0,
    ) -> Logistic:
        """Weights >= 0 from ``rows`` (n, n_scorers) of raw scores and ``correct`` (n,) in {0, 1}.

        Log-odds are standardised; an unmeasured one stands at the mean and switches on an indicator of its
        own, the sign of which is free. ``l2`` > 0 penalises half the squared weights against the summed log
        loss (scikit-learn's 1 / C). Raises GatingError where nothing can be learnt.
        """
        labels = np.asarray(correct, dtype=np.float64)
        measured = np.array(
            [[not isinstance(score, Unmeasured) for score in row] for row in rows], dtype=bool
        )
        if measured.shape != (len(labels), len(scorers)):
            raise GatingError(
                f"combination: rows must be ({len(labels)}, {len(scorers)}), not {measured.shape}"
            )
        log_odds = np.array(
            [
                [
                    0.0 if isinstance(score, Unmeasured) else TO_LOG_ODDS[scorer.scale](score)
                    for scorer, score in zip(scorers, row, strict=True)
                ]
                for row in rows
            ]
        )
        seen = measured.sum(axis=0)
        count = np.maximum(seen, 1)
        centre = log_odds.sum(axis=0) / count  # unmeasured entries are 0
        centred = np.where(measured, log_odds - centre, 0.0)
        spread = np.sqrt((centred**2).sum(axis=0) / count)
        spread[spread == 0.0] = 1.0
        bias, weights = fit_logistic(
            np.hstack([centred / spread, ~measured]),
            labels,
            l2=l2,
            monotone=np.arange(2 * len(scorers)) < len(scorers),
        )
        terms = tuple(
            Term(float(weight), float(middle), float(gap) if lacks else None)
            for weight, middle, gap, lacks in zip(
                weights[: len(scorers)] / spread,
                centre,
                weights[len(scorers) :],
                seen < len(labels),
                strict=True,
            )
        )
        return cls(tuple(scorers), bias, terms)

    def read(self, evidence: Evidence) -> Reading | Unmeasured:
        """The sum; Unmeasured where no scorer reads the evidence, or one lacks that never did in the fit."""
        return self.join([scorer.score(evidence) for scorer in self.scorers])

    def join(self, scores: Sequence[float | Unmeasured]) -> Reading | Unmeasured:
        """The sum over ``scores`` (n_scorers,), as in ``read``."""
        total, seen, reason = self.bias, False, Unmeasured("no scorer")
        for scorer, term, score in zip(self.scorers, self.terms, scores, strict=True):
            if not isinstance(score, Unmeasured):
                seen = True
                total += term.weight * (TO_LOG_ODDS[scorer.scale](score) - term.centre)
            elif term.missing is None:
                return score
            else:
                reason = score
                total += term.missing
        return Reading(total, total) if seen else reason

    def to_dict(self) -> dict[str, Any]:
        """The bias, and a term for each scorer, in order."""
        return {
            "kind": "logistic",
            "bias": self.bias,
            "terms": [
                {"weight": term.weight, "centre": term.centre, "missing": term.missing} for term in self.terms
            ],
        }

    @classmethod
    def load(cls, scorers: tuple[Scorer, ...], saved: Saved) -> Logistic:
        """What ``to_dict`` saved; raises GatingError naming the key."""
        terms = tuple(
            Term(term.number("weight"), term.number("centre"), term.optional_number("missing"))
            for term in saved.objects("terms")
        )
        return cls(scorers, saved.number("bias"), terms)


#: What a policy's ``combination.kind`` may be.
COMBINATIONS: Mapping[str, Callable[[tuple[Scorer, ...], Saved], Combination]] = {
    "single": Single.load,
    "logistic": Logistic.load,
}
