"""The group of answers that a rescue asks for: without passages, where the answer with them is withheld.

Their questions are the harder ones: of two answers without passages that score alike, the one whose question was
refused with them is less often right. So they have a calibrator and a threshold of their own. What is withheld
depends on thresholds that the same labels chose, so that there is never a certificate. Then no label has to be kept for
one: all but the test split fit the calibrator, and what it says of them chooses the threshold (``Goal.expect``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gating.conditions import RESCUED, Group
from gating.tuning.by_condition import figures_of
from gating.tuning.graded import ABSTAINED
from gating.tuning.judged import judge, thresholds_of
from gating.types import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gating.policy import Policy
    from gating.tuning.figures import ConditionFigures
    from gating.tuning.goals import Goal
    from gating.tuning.graded import Graded
    from gating.tuning.splits import Rows

#: Fewer labels to fit on say nothing beside the answers without passages; ten weigh a third (``HALF_TRUST``).
LEAST_LABELS = 10


def with_rescued(
    policy: Policy, graded: Graded, splits: Mapping[str, Rows], goal: Goal
) -> tuple[Policy, ConditionFigures | None]:
    """``policy`` with a group for what is rescued under its thresholds, and what that does on the test split.

    Without it, and None, where the records tell fewer than LEAST_LABELS such answers to fit on: then they are judged as
    all answers without passages.
    """
    conditions = policy.conditions
    if conditions is None or graded.without is None or not _measurable(policy, graded.without):
        return policy, None
    closed = _as_rescued(graded.without, conditions.by)
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
    confidence, _ = judge(drafted(group), closed, again).labelled()
    group = replace(group, threshold=goal.expect(confidence))
    test = judge(drafted(group), closed, _asked_again(policy, graded, closed, splits["test"]))
    return drafted(group), figures_of(group, test)


def _measurable(policy: Policy, closed: Graded) -> bool:
    """Whether any answer without passages has what the policy's scorers read."""
    return all(scorer.name in closed.columns for scorer in policy.scorers)


def _as_rescued(closed: Graded, by: str) -> Graded:
    return replace(closed, conditions={by: np.full(len(closed), RESCUED)})


def _asked_again(policy: Policy, graded: Graded, closed: Graded, rows: Rows) -> Rows:
    """Which answers without passages, one of a question, stand in for those of ``rows`` that are withheld."""
    judged = judge(policy, graded, rows)
    limits = thresholds_of(policy, graded, rows)
    served = np.zeros(rows.size, dtype=np.bool_) if limits is None else judged.answered(limits)
    again = graded.without_row[rows][~served]
    again = again[again >= 0]
    _, first = np.unique(closed.group[again], return_index=True)
    return again[np.sort(first)]


def _fit_rows(policy: Policy, closed: Graded, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The log-odds (m,) of those that are right or wrong and measured, and which are right (m,)."""
    rows = rows[closed.outcome[rows] != ABSTAINED]
    names = [scorer.name for scorer in policy.scorers]
    read = [policy.combination.join(scores) for scores in closed.scores(names, rows)]
    known = [not isinstance(one, Unmeasured) for one in read]
    log_odds = [one.log_odds for one in read if not isinstance(one, Unmeasured)]
    return np.array(log_odds), closed.outcome[rows][known].astype(np.float64)
