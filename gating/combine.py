"""Combinations: one score from one or several scorers, with the log-odds that the calibrator reads."""

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
    """A raw score, which is reported, and its log-odds, which the calibrator reads."""

    score: float
    log_odds: float


class Combination(Protocol):
    """A function of the scores of a policy's scorers, never decreasing in any of them."""

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """The scorers in the order of the policy's file."""
        ...

    def read(self, evidence: Evidence) -> Reading | Unmeasured:
        """Return the combined score of the evidence."""
        ...

    def join(self, scores: Sequence[float | Unmeasured]) -> Reading | Unmeasured:
        """Return the combined score, given the scorers' scores (n_scorers,) in order."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: ``kind`` and the learnt parameters, without the scorers."""
        ...


@dataclass(frozen=True, slots=True)
class Single:
    """A combination of one scorer, whose score is used unchanged."""

    scorer: Scorer

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """The single scorer as a one-element tuple."""
        return (self.scorer,)

    def read(self, evidence: Evidence) -> Reading | Unmeasured:
        """Return the scorer's score and its log-odds."""
        return self.join((self.scorer.score(evidence),))

    def join(self, scores: Sequence[float | Unmeasured]) -> Reading | Unmeasured:
        """Return the only score and its log-odds."""
        (score,) = scores
        if isinstance(score, Unmeasured):
            return score
        return Reading(score, TO_LOG_ODDS[self.scorer.scale](score))

    def to_dict(self) -> dict[str, Any]:
        """Return the kind alone: there are no learnt parameters."""
        return {"kind": "single"}

    @classmethod
    def load(cls, scorers: tuple[Scorer, ...], saved: Saved) -> Single:
        """Read what ``to_dict`` saved; raises GatingError unless there is exactly one scorer."""
        if len(scorers) != 1:
            raise GatingError(f"{saved.place}: kind single takes one scorer, not {len(scorers)}; {REMEDY}")
        return cls(scorers[0])


@dataclass(frozen=True, slots=True)
class Term:
    """One scorer's contribution: ``weight * (log-odds - centre)``, or ``missing`` where it is unmeasured.

    ``missing`` is None where every answer of the fit had this score, so that its absence cannot be weighed.
    """

    weight: float
    centre: float
    missing: float | None

    def __post_init__(self) -> None:
        """Raise GatingError for a negative or NaN weight, with which the score could decrease."""
        if not self.weight >= 0.0:
            raise GatingError(
                f"policy.combination: a term's weight must be >= 0, not {self.weight}; {REMEDY}"
            )


@dataclass(frozen=True, slots=True)
class Logistic:
    """A logistic regression over the log-odds of several scorers; the weighted sum is the score."""

    scorers: tuple[Scorer, ...]
    bias: float
    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        """Raise GatingError unless there is one term for each scorer."""
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
        """Fit weights >= 0 to ``rows`` (n, n_scorers) of raw scores and ``correct`` (n,) in {0, 1}.

        Log-odds are standardised. An unmeasured score counts as the mean, and sets an indicator whose weight
        may have either sign. ``l2`` > 0 multiplies half the squared weights against the summed log loss
        (scikit-learn's 1 / C). Raises GatingError where the labels are of one class.
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
        """Return the weighted sum.

        Return Unmeasured where no scorer can read the evidence, or where a score is missing that no answer of
        the fit lacked.
        """
        return self.join([scorer.score(evidence) for scorer in self.scorers])

    def join(self, scores: Sequence[float | Unmeasured]) -> Reading | Unmeasured:
        """Return the weighted sum over ``scores`` (n_scorers,), as ``read`` does."""
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
        """Return the bias and a term for each scorer, in order, as plain JSON values."""
        return {
            "kind": "logistic",
            "bias": self.bias,
            "terms": [
                {"weight": term.weight, "centre": term.centre, "missing": term.missing} for term in self.terms
            ],
        }

    @classmethod
    def load(cls, scorers: tuple[Scorer, ...], saved: Saved) -> Logistic:
        """Read what ``to_dict`` saved; raises GatingError naming the key."""
        terms = tuple(
            Term(term.number("weight"), term.number("centre"), term.optional_number("missing"))
            for term in saved.objects("terms")
        )
        return cls(scorers, saved.number("bias"), terms)


#: The values of a policy's ``combination.kind``, with the function that reads each.
COMBINATIONS: Mapping[str, Callable[[tuple[Scorer, ...], Saved], Combination]] = {
    "single": Single.load,
    "logistic": Logistic.load,
}
