"""Choice of the scorers, their combination and the calibrator, on the fit split alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from calibrators import CALIBRATORS, auto
from gating.combine import Logistic, Single
from gating.scorers import SCORERS
from gating.tuning.costs import FOLDS, FREE, SAME_LOSS, cheapest, cost_of, single_losses
from gating.tuning.splits import split
from gating.types import GatingError, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from calibrators import Calibrator
    from gating.combine import Combination
    from gating.tuning.graded import Graded
    from gating.tuning.splits import Rows

#: Most labels that are used to compare scorers or to fit a combination's weights; more do not change the result.
MOST_COMPARED = 50_000
#: Largest share of the fit split for a combination's weights; its calibrator is fitted on the rest.
COMBINATION_SHARE = 0.5
#: The name under which the calibrator or the scorers are chosen by cross-validation.
AUTO = "auto"


def check_calibrator(name: str) -> None:
    """Raise GatingError unless ``name`` is AUTO or a name in ``CALIBRATORS``."""
    if name != AUTO and name not in CALIBRATORS:
        raise GatingError(f"calibrator: {name!r} is unknown; use {AUTO} or one of {', '.join(CALIBRATORS)}")


class PolicyParts(NamedTuple):
    """The fitted combination and calibrator; the calibrator was fitted on ``log_odds`` (m,) at ``rows`` (m,).

    ``considered`` holds the cross-validated log loss of the candidates, if there was a choice. ``cheaper`` names
    the best scorer that costs less than the chosen ones, None where there is none.
    """

    combination: Combination
    calibrator: Calibrator
    log_odds: NDArray[np.float64]
    rows: Rows
    considered: Mapping[str, float]
    cheaper: str | None


def fit_policy_parts(
    graded: Graded, rows: Rows, names: Sequence[str] | None, calibrator: str, rng: np.random.Generator
) -> PolicyParts:
    """Fit the combination of the scorers and the calibrator to the answers at ``rows`` (m,).

    The scorers ``names`` are combined; a single one is used unchanged. None takes the best single scorer among
    the cheapest, AUTO the cheapest candidates that are no worse than the best. Raises GatingError where the
    rows have answers of one class only.
    """
    rows = rows[graded.labelled[rows]]
    require_both_classes(graded, rows)
    part = subsample(graded, rows, rng)
    considered: Mapping[str, float] = {}
    if names is not None and tuple(names) == (AUTO,):
        names, considered = cheapest(graded, part, rng)
    names = names or (best_single(graded, part, rng),)
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
    cheaper = cheaper_than(names, graded, part, rng)
    return PolicyParts(combination, fitted, log_odds, rows[measured], considered, cheaper)


def fit_calibrator(
    name: str, log_odds: NDArray[np.float64], graded: Graded, rows: Rows, rng: np.random.Generator
) -> Calibrator:
    """Fit the calibrator ``name`` (AUTO: the best) to ``log_odds`` (m,) of the answers at ``rows`` (m,)."""
    correct = graded.outcome[rows].astype(np.float64)
    if name == AUTO:
        seed = int(rng.integers(2**31))
        return auto(log_odds, correct, groups=graded.group[rows], seed=seed).calibrator
    return CALIBRATORS[name]().fit(log_odds, correct)


def joined_log_odds(
    combination: Combination, graded: Graded, rows: Rows
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the log-odds (k,) of the measured answers among ``rows`` (m,), and which are measured (m,)."""
    names = [scorer.name for scorer in combination.scorers]
    readings = [combination.join(scores) for scores in graded.scores(names, rows)]
    known = [reading.log_odds for reading in readings if not isinstance(reading, Unmeasured)]
    measured = np.array([not isinstance(reading, Unmeasured) for reading in readings], dtype=np.bool_)
    return np.array(known, dtype=np.float64), measured


def subsample(graded: Graded, rows: Rows, rng: np.random.Generator) -> Rows:
    """Return at most MOST_COMPARED of ``rows`` (m,), drawn by whole questions."""
    if rows.size <= MOST_COMPARED:
        return rows
    share = MOST_COMPARED / rows.size
    return rows[split(graded.group[rows], {"part": share, "rest": 1 - share}, rng)["part"]]


def best_single(graded: Graded, rows: Rows, rng: np.random.Generator) -> str:
    """Return the scorer with the least cross-validated log loss on ``rows`` (m,); ties go to the cheapest.

    Candidates are the scorers of the answer's logprobs, which need no further call. Scorers that need further
    calls are candidates only without logprobs, and features, which the proxy does not see, only without any
    other scorer.
    """
    own = [name for name in graded.columns if name in SCORERS]
    free = [name for name in own if cost_of(SCORERS[name]) == FREE and graded.columns[name].measured.any()]
    names = free or own or list(graded.columns)
    if not names:
        raise GatingError(
            "no record has evidence to score (token_logprobs, top_logprobs, samples or features); "
            "`idk evaluate` writes records with evidence"
        )
    return _least_loss(names, graded, rows, rng)


def cheaper_than(names: Sequence[str], graded: Graded, rows: Rows, rng: np.random.Generator) -> str | None:
    """Return the best single scorer that costs less than the combination of ``names``, or one of its members."""
    price = max(cost_of(graded.column(name).scorer) for name in names)
    less = [
        name
        for name, column in graded.columns.items()
        if name in SCORERS
        and column.measured[rows].any()
        and (cost_of(column.scorer) < price or (len(names) > 1 and name in names))
    ]
    lowest = min((cost_of(SCORERS[name]) for name in less), default=FREE)
    less = [name for name in less if cost_of(SCORERS[name]) == lowest]
    return _least_loss(less, graded, rows, rng) if less else None


def _least_loss(names: Sequence[str], graded: Graded, rows: Rows, rng: np.random.Generator) -> str:
    if len(names) == 1:
        return names[0]
    fold = rng.permutation(graded.group.max() + 1)[graded.group[rows]] % FOLDS
    losses = {name: float(single_losses(graded, name, rows, fold).mean()) for name in names}
    most = min(losses.values()) + SAME_LOSS
    return next(name for name in names if losses[name] <= most)


def require_both_classes(graded: Graded, rows: Rows) -> None:
    """Raise GatingError where the answers at ``rows`` (m,) are all right or all wrong."""
    found = set(np.unique(graded.outcome[rows]).tolist())
    if found != {0, 1}:
        missing = "wrong" if 0 not in found else "right"
        raise GatingError(
            f"none of the {rows.size} measured answers to fit on is {missing}; "
            "fitting needs both kinds: label more answers, or harder and easier questions"
        )
