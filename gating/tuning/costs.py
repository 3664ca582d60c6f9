"""Choice of the cheapest scorers that are no worse than the best.

Candidates are compared by cross-validated log loss on the fit split. The cheapest candidate wins whose loss
exceeds the least by at most one standard error of the paired difference (Breiman, Friedman, Olshen & Stone 1984,
section 3.4.3).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from calibrators.platt import PlattCalibrator
from gating.combine import Logistic
from gating.scorers import SCORERS
from gating.types import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gating.scorers import Need, Scorer
    from gating.tuning.graded import Graded
    from gating.tuning.splits import Rows

    Floats = NDArray[np.float64]

#: Folds of the cross-validation that compares scorers.
FOLDS = 5
#: Mean log losses (nats) that differ by less are equal: iterative fits and the order of sums change them by some
#: 1e-9, differently on each machine.
SAME_LOSS = 1e-6
#: The cost of evidence: none beyond the answer, one further call, or several.
FREE, ONE_CALL, SEVERAL_CALLS = 0, 1, 2
_COST: Mapping[Need, int] = {
    "logprobs": FREE,
    "top_logprobs": FREE,
    "p_true": ONE_CALL,
    "verbalised": ONE_CALL,
    "closed_book": ONE_CALL,
    "samples": SEVERAL_CALLS,
    "embeddings": SEVERAL_CALLS,
    "meanings": SEVERAL_CALLS,
}


def cost_of(scorer: Scorer) -> int:
    """Return the cost of a scorer's most expensive evidence; a feature, which the proxy does not see, costs most."""
    return max((_COST.get(need, SEVERAL_CALLS + 1) for need in scorer.needs), default=FREE)


@dataclass(frozen=True, slots=True)
class Cheaper:
    """The gain in log loss of a policy over the best cheaper ``scorer``, on the test split.

    ``gain`` is in nats for each answer and ``error`` its standard error over questions; both are None with fewer
    than two questions.
    """

    scorer: str
    gain: float | None
    error: float | None

    @property
    def pays(self) -> bool | None:
        """Whether the gain exceeds its standard error; None where it is unknown."""
        return None if self.gain is None or self.error is None else self.gain > self.error

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON values."""
        return asdict(self) | {"pays": self.pays}

    @classmethod
    def of(cls, scorer: str, gained: Floats, groups: NDArray[np.intp]) -> Self:
        """Summarise the gain of each answer (n,) over questions ``groups`` (n,)."""
        if np.unique(groups).size < 2:
            return cls(scorer, None, None)
        gain, error = mean_over_groups(gained, groups)
        return cls(scorer, gain, error)


def mean_over_groups(values: Floats, groups: NDArray[np.intp]) -> tuple[float, float]:
    """Return the mean of ``values`` (n,) and its standard error, with ``groups`` (n,) as independent units."""
    parts = np.bincount(np.unique(groups, return_inverse=True)[1], weights=values / values.size)
    return float(parts.sum()), float(np.sqrt(np.sum((parts - parts.mean()) ** 2)))


def cheapest(
    graded: Graded, rows: Rows, rng: np.random.Generator
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the scorers to combine, and the log loss of each candidate (names joined with "+"), cheapest first.

    Candidates are the best single scorer of each cost and all combinations of these. ``rows`` (m,) are labelled.
    The best scorer of a cost is chosen on the same folds, which favours costs with many scorers by less than the
    standard error of the comparison. The result is ``((), {})`` where no scorer measures anything.
    """
    fold = rng.permutation(graded.group.max() + 1)[graded.group[rows]] % FOLDS
    best: dict[int, str] = {}
    lost: dict[tuple[str, ...], Floats] = {}
    for name, column in graded.columns.items():
        if name not in SCORERS or not column.measured[rows].any():
            continue
        losses = single_losses(graded, name, rows, fold)
        cost = cost_of(column.scorer)
        if cost not in best or losses.mean() < lost[(best[cost],)].mean() - SAME_LOSS:
            lost.pop((best.get(cost, ""),), None)  # only the best scorer of each cost is a candidate
            best[cost], lost[(name,)] = name, losses
    for names in _subsets([best[cost] for cost in sorted(best)]):
        if len(names) > 1:
            lost[names] = joint_losses(graded, names, rows, fold)
    order = sorted(lost, key=_price)
    told = {"+".join(names): float(lost[names].mean()) for names in order}
    return _no_worse([(names, lost[names]) for names in order], graded.group[rows]), told


def _price(names: Sequence[str]) -> tuple[int, int]:
    """Return the sort key: the most expensive evidence, then the number of scorers."""
    return max(cost_of(SCORERS[name]) for name in names), len(names)


def _subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return all non-empty subsets, each in the order of ``names``."""
    found: list[tuple[str, ...]] = [()]
    for name in names:
        found += [(*each, name) for each in found]
    return found[1:]


def _no_worse(
    candidates: Sequence[tuple[tuple[str, ...], Floats]], groups: NDArray[np.intp]
) -> tuple[str, ...]:
    """Return the first candidate, in the order of cost, within one standard error of the least loss."""
    if not candidates:
        return ()
    least = min((losses for _, losses in candidates), key=lambda losses: float(losses.mean()))
    excess = [mean_over_groups(losses - least, groups) for _, losses in candidates]
    return next(names for (names, _), (mean, error) in zip(candidates, excess, strict=True) if mean <= error)


def single_losses(graded: Graded, name: str, rows: Rows, fold: NDArray[np.intp]) -> Floats:
    """Return the cross-validated log loss (m,), in nats, of one scorer's Platt fit at ``rows`` (m,).

    ``fold`` (m,) numbers the folds. An unmeasured answer gets the base rate, so that a scorer gains nothing by
    leaving answers unmeasured.
    """
    column = graded.columns[name]
    measured, correct = column.measured[rows], graded.outcome[rows].astype(np.float64)
    log_odds = column.log_odds(rows)
    confidence = np.empty(rows.size)
    for one in range(FOLDS):
        out = fold == one
        confidence[out] = _base_rate(correct[~out])
        seen, told = ~out & measured, out & measured
        if seen.any() and told.any():
            fitted = PlattCalibrator().fit(log_odds[seen], correct[seen])
            confidence[told] = fitted.predict(log_odds[told])
    return losses_of(confidence, correct)


def joint_losses(graded: Graded, names: Sequence[str], rows: Rows, fold: NDArray[np.intp]) -> Floats:
    """Return the cross-validated log loss (m,), in nats, of a logistic regression on several scorers."""
    correct = graded.outcome[rows].astype(np.float64)
    scorers = [graded.column(name).scorer for name in names]
    scores = graded.scores(names, rows)
    confidence = np.empty(rows.size)
    for one in range(FOLDS):
        out = np.flatnonzero(fold == one)
        seen = np.flatnonzero(fold != one)
        confidence[out] = _base_rate(correct[seen])
        if np.unique(correct[seen]).size < 2:
            continue
        fitted = Logistic.fit(scorers, [scores[row] for row in seen], correct[seen])
        for row in out:
            reading = fitted.join(scores[row])
            if not isinstance(reading, Unmeasured):
                confidence[row] = 0.5 * (1.0 + np.tanh(0.5 * reading.log_odds))
    return losses_of(confidence, correct)


def losses_of(confidence: Floats, correct: Floats) -> Floats:
    """Return the log loss (n,) in nats, with confidences clipped to [1e-12, 1 - 1e-12]."""
    kept = np.clip(confidence, 1e-12, 1 - 1e-12)
    losses: Floats = -np.log(np.where(correct == 1, kept, 1 - kept))
    return losses


def _base_rate(correct: Floats) -> float:
    """Return the base rate by Laplace's rule, which is never 0 or 1."""
    return float(correct.sum() + 1) / (correct.size + 2)
