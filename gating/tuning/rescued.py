"""The group of rescued answers: asked again without passages, because the answer with them was withheld.

Their questions are harder: of two answers without passages with equal scores, the one whose question was withheld
with passages is less often right. Therefore the group has its own calibrator and threshold. Which answers are
withheld depends on thresholds chosen by the same labels, so the group is never certified. All splits except the
test split fit its calibrator, and the calibrated confidences choose the threshold (``Goal.expect``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gating.conditions import RESCUED, Group
from gating.tuning.by_condition import figures_of
from gating.tuning.scored import score_answers, thresholds_of
from gating.tuning.splits import deal
from gating.types import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gating.policy import Policy
    from gating.tuning.figures import ConditionFigures
    from gating.tuning.goals import Goal
    from gating.tuning.graded import Graded
    from gating.tuning.splits import Rows

#: Fewest labels for a separate group; ten labels have a third of the weight (``HALF_TRUST``).
LEAST_LABELS = 10
#: Share of the answers for the figures of the group, where tuning itself needs no test split.
TEST_SHARE = 0.2


def with_rescued(
    policy: Policy, graded: Graded, splits: Mapping[str, Rows], goal: Goal
) -> tuple[Policy, ConditionFigures | None]:
    """Return ``policy`` with a group for answers rescued under its thresholds, and its figures on the test split.

    With fewer than LEAST_LABELS such answers, return the policy unchanged and None; rescued answers then count as
    answers without passages.
    """
    conditions = policy.conditions
    if conditions is None or graded.without is None or not _measurable(policy, graded.without):
        return policy, None
    closed = _as_rescued(graded.without, conditions.by)
    splits = splits if "test" in splits else _with_test(graded, splits)
    given = np.concatenate([rows for name, rows in splits.items() if name != "test"])
    again = _asked_again(policy, graded, closed, given)
    log_odds, correct = _fit_rows(policy, closed, again)
    if correct.size < LEAST_LABELS:
        return policy, None
    calibrator = conditions.calibrator.with_group(RESCUED, log_odds, correct)

    def drafted(group: Group) -> Policy:
        groups = {**conditions.groups, RESCUED: group}
        return replace(policy, conditions=replace(conditions, calibrator=calibrator, groups=groups))

    group = Group(None, n=correct.size)
    confidence, _ = score_answers(drafted(group), closed, again).labelled()
    group = replace(group, threshold=goal.expect(confidence))
    test = score_answers(drafted(group), closed, _asked_again(policy, graded, closed, splits["test"]))
    return drafted(group), figures_of(group, test)


def _with_test(graded: Graded, splits: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return a fit and a test split of all answers, since the group is never certified and needs figures of its fit."""
    rows = np.sort(np.concatenate(list(splits.values())))
    places, rank = np.unique(graded.group_place[rows], return_inverse=True)
    parts = deal(rank / max(places.size, 1), {"fit": 1 - TEST_SHARE, "test": TEST_SHARE})
    return {name: rows[part] for name, part in parts.items()}


def _measurable(policy: Policy, closed: Graded) -> bool:
    """Return whether the policy's scorers measured any answer without passages."""
    return all(scorer.name in closed.columns for scorer in policy.scorers)


def _as_rescued(closed: Graded, by: str) -> Graded:
    return replace(closed, conditions={by: np.full(len(closed), RESCUED)})


def _asked_again(policy: Policy, graded: Graded, closed: Graded, rows: Rows) -> Rows:
    """Return the rows of answers without passages, one for each question, whose answer in ``rows`` is withheld."""
    answers = score_answers(policy, graded, rows)
    limits = thresholds_of(policy, graded, rows)
    served = np.zeros(rows.size, dtype=np.bool_) if limits is None else answers.answered(limits)
    again = graded.without_row[rows][~served]
    again = again[again >= 0]
    _, first = np.unique(closed.group[again], return_index=True)
    return again[np.sort(first)]


def _fit_rows(policy: Policy, closed: Graded, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log-odds (m,) of the measured answers that are right or wrong, and their labels (m,)."""
    rows = rows[closed.labelled[rows]]
    names = [scorer.name for scorer in policy.scorers]
    read = [policy.combination.join(scores) for scores in closed.scores(names, rows)]
    known = [not isinstance(one, Unmeasured) for one in read]
    log_odds = [one.log_odds for one in read if not isinstance(one, Unmeasured)]
    return np.array(log_odds), closed.outcome[rows][known].astype(np.float64)
