"""Which scorer, or which several as one: fitted and chosen on the fit split alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from calibrators import CALIBRATORS, auto
from calibrators.metrics import log_loss
from calibrators.platt import PlattCalibrator
from gating.combine import Logistic, Single
from gating.scorers import SCORERS
from gating.tuning.splits import split
from gating.types import GatingError, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calibrators import Calibrator
    from gating.combine import Combination
    from gating.tuning.graded import Column, Graded
    from gating.tuning.splits import Rows

#: Of the comparison of scorers.
FOLDS = 5
#: More labels than this settle nothing further about which scorer is best, or how much each weighs.
MOST_COMPARED = 50_000
#: Of the fit split, the most that a combination's weights are learnt on; its calibrator is fitted on the rest.
COMBINATION_SHARE = 0.5
#: The evidence that comes with the answer, without a further call.
LOGPROBS = frozenset({"logprobs", "top_logprobs"})
#: The calibrator that is chosen by cross-validation.
AUTO = "auto"


def check_calibrator(name: str) -> None:
    """Raise GatingError where no calibrator is called so."""
    if name != AUTO and name not in CALIBRATORS:
        raise GatingError(f"calibrator: {name!r} is unknown; use {AUTO} or one of {', '.join(CALIBRATORS)}")


class PolicyParts(NamedTuple):
    """What was fitted; ``log_odds`` (m,) of the answers at ``rows`` (m,) are what the calibrator saw."""

    combination: Combination
    calibrator: Calibrator
    log_odds: NDArray[np.float64]
    rows: Rows


def fit_policy_parts(
    graded: Graded, rows: Rows, names: Sequence[str] | None, calibrator: str, rng: np.random.Generator
) -> PolicyParts:
    """The scorers as one and the calibrator on top, from the answers at ``rows`` (m,).

    ``names`` are combined, a single one stands as it is; None takes the single best. Raises GatingError where
    the rows have no answer of a class.
    """
    rows = rows[graded.labelled[rows]]
    require_both_classes(graded, rows)
    if names is None:
        names = (best_single(graded, rows, rng),)
    for name in names:
        graded.column(name)
    if len(names) == 1:
        combination: Combination = Single(graded.column(names[0]).scorer)
    else:
        share = min(COMBINATION_SHARE, MOST_COMPARED / rows.size)
        parts = split(graded.group[rows], {"weights": share, "calibrator": 1 - share}, rng)
        weigh, rows = rows[parts["weights"]], rows[parts["calibrator"]]
        scorers = [graded.column(name).scorer for name in names]
        combination = Logistic.fit(scorers, graded.scores(names, weigh), graded.outcome[weigh])
    log_odds, measured = joined_log_odds(combination, graded, rows)
    require_both_classes(graded, rows[measured])
    fitted = fit_calibrator(calibrator, log_odds, graded, rows[measured], rng)
    return PolicyParts(combination, fitted, log_odds, rows[measured])


def fit_calibrator(
    name: str, log_odds: NDArray[np.float64], graded: Graded, rows: Rows, rng: np.random.Generator
) -> Calibrator:
    """The calibrator called ``name`` (AUTO: the best) on ``log_odds`` (m,) of the answers at ``rows`` (m,)."""
    correct = graded.outcome[rows].astype(np.float64)
    if name == AUTO:
        seed = int(rng.integers(2**31))
        return auto(log_odds, correct, groups=graded.group[rows], seed=seed).calibrator
    return CALIBRATORS[name]().fit(log_odds, correct)


def joined_log_odds(
    combination: Combination, graded: Graded, rows: Rows
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The log-odds (k,) of those of ``rows`` (m,) that are measured (m,)."""
    names = [scorer.name for scorer in combination.scorers]
    readings = [combination.join(scores) for scores in graded.scores(names, rows)]
    known = [reading.log_odds for reading in readings if not isinstance(reading, Unmeasured)]
    measured = np.array([not isinstance(reading, Unmeasured) for reading in readings], dtype=np.bool_)
    return np.array(known, dtype=np.float64), measured


def best_single(graded: Graded, rows: Rows, rng: np.random.Generator) -> str:
    """The scorer with the least cross-validated log loss on ``rows`` (m,); of equal ones the cheapest.

    Scorers of the answer's own logprobs first: they cost nothing more. Those that need further calls only where
    there are no logprobs, or where they are named; features, which a proxy does not see, only where there is
    nothing else.
    """
    own = [name for name in graded.columns if name in SCORERS]
    free = [name for name in own if SCORERS[name].needs <= LOGPROBS and graded.columns[name].measured.any()]
    names = free or own or list(graded.columns)
    if not names:
        raise GatingError(
            "no record has evidence to score (token_logprobs, top_logprobs, samples or features); "
            "`idk evaluate` writes records that do"
        )
    if rows.size > MOST_COMPARED:
        share = MOST_COMPARED / rows.size
        rows = rows[split(graded.group[rows], {"compared": share, "rest": 1 - share}, rng)["compared"]]
    fold = rng.permutation(graded.group.max() + 1)[graded.group[rows]] % FOLDS
    losses = {name: held_out_loss(graded.columns[name], graded.outcome, rows, fold) for name in names}
    return min(losses, key=losses.__getitem__)


def held_out_loss(column: Column, outcome: NDArray[np.int8], rows: Rows, fold: NDArray[np.intp]) -> float:
    """Log loss in nats over ``rows`` (m,), each predicted by a Platt fit that did not see its ``fold`` (m,).

    An unmeasured answer is predicted by the base rate, so that a scorer gains nothing by silence.
    """
    measured, correct = column.measured[rows], outcome[rows].astype(np.float64)
    log_odds = column.log_odds(rows)
    confidence = np.empty(rows.size)
    for one in range(FOLDS):
        out = fold == one
        confidence[out] = (correct[~out].sum() + 1) / ((~out).sum() + 2)  # Laplace's rule: never 0 or 1
        seen, told = ~out & measured, out & measured
        if seen.any() and told.any():
            fitted = PlattCalibrator().fit(log_odds[seen], correct[seen])
            confidence[told] = fitted.predict(log_odds[told])
    return log_loss(confidence, correct) or 0.0


def require_both_classes(graded: Graded, rows: Rows) -> None:
    """Raise GatingError where ``rows`` (m,) teach nothing, being all right or all wrong."""
    found = set(np.unique(graded.outcome[rows]).tolist())
    if found != {0, 1}:
        missing = "wrong" if 0 not in found else "right"
        raise GatingError(
            f"of the {rows.size} measured answers to fit on none is {missing}; "
            "a confidence is learnt from both kinds: label more answers, or harder and easier questions"
        )
