"""Calibrators, thresholds and figures for each condition of a policy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from calibrators.groups import GroupedCalibrator
from gating.conditions import GROUPINGS, NONE, RELATED, UNRELATED, Conditions, Group
from gating.relatedness import Vocabulary
from gating.tuning.figures import ConditionFigures, always, held_out
from gating.tuning.goals import Choice
from gating.tuning.graded import ABSTAINED
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gating.policy import Policy
    from gating.tuning.choice import PolicyParts
    from gating.tuning.goals import Goal
    from gating.tuning.graded import Graded
    from gating.tuning.scored import ScoredAnswers
    from gating.tuning.splits import Rows

#: The grouping that needs no further call.
PLAIN = "context"


def grouping_of(graded: Graded, by: str | None) -> str | None:
    """Return the grouping to use: ``by``, else ``context`` where any record says whether it had passages.

    Return None where there are no conditions. Raises GatingError on an unknown grouping, and where records lack
    the information for it.
    """
    stated = graded.conditions.get(PLAIN)
    count = 0 if stated is None else int((stated != "").sum())
    if by is None:
        if count == 0:
            return None
        by = PLAIN
    if by not in GROUPINGS:
        raise GatingError(f"conditions: {by!r} is unknown; use one of {', '.join(GROUPINGS)}")
    told = int((graded.conditions[by] != "").sum()) if by in graded.conditions else count
    # For ``contrast`` the two answers determine the condition; for others each record must state its own.
    if told == 0 or (by != "contrast" and count < len(graded)):
        raise GatingError(
            f"conditions: {len(graded) - count:,} of {len(graded):,} records do not say whether they had "
            'passages; give each record a `condition` ("none" without passages), as `idk evaluate --contexts` does, '
            "or remove it from all"
        )
    return by


def fitted_on(graded: Graded, rows: Rows, by: str) -> tuple[Graded, Vocabulary | None]:
    """Add the conditions of a fitted grouping to ``graded``, learnt from the answers at ``rows`` (m,)."""
    if not GROUPINGS[by].fitted:
        return graded, None
    words = [graded.words[row] for row in rows.tolist()]
    vocabulary = Vocabulary.of(words)
    labelled = graded.labelled[rows]
    known = [
        (vocabulary.share(one), float(graded.outcome[row]))
        for one, row, told in zip(words, rows.tolist(), labelled.tolist(), strict=True)
        if one is not None and told
    ]
    if not known:
        raise GatingError(
            f"conditions: {by} needs each record's `question` and `context`, and no record has both; "
            "`idk evaluate --contexts` writes them"
        )
    shares, correct = np.array(known).T
    vocabulary = vocabulary.with_best_cut(shares, correct)
    plain = graded.conditions[PLAIN].tolist()
    names = [
        NONE if one == NONE else "" if said is None else RELATED if vocabulary.related(said) else UNRELATED
        for one, said in zip(plain, graded.words, strict=True)
    ]
    return replace(graded, conditions={**graded.conditions, by: np.array(names, dtype=np.str_)}), vocabulary


def calibrated(
    parts: PolicyParts, graded: Graded, by: str, vocabulary: Vocabulary | None = None
) -> Conditions:
    """Fit each group's calibrator, shrunk towards that of all answers (weight n / (n + 20)), without thresholds."""
    names = graded.conditions[by][parts.rows]
    known = names != ""
    grouped = GroupedCalibrator(parts.calibrator.kind).fit(
        parts.log_odds[known], graded.outcome[parts.rows][known].astype(np.float64), names[known].tolist()
    )
    groups, counts = np.unique(names[known], return_counts=True)
    return Conditions(
        by,
        grouped,
        {name: Group(None, n=n) for name, n in zip(groups.tolist(), counts.tolist(), strict=True)},
        vocabulary,
    )


def part_of(answers: ScoredAnswers, graded: Graded, by: str, name: str) -> ScoredAnswers:
    """Return the answers of one condition."""
    rows = graded.conditions[by][answers.rows] == name
    return replace(
        answers,
        rows=answers.rows[rows],
        outcome=answers.outcome[rows],
        confidence=answers.confidence[rows],
        measured=answers.measured[rows],
    )


def choose(
    draft: Policy, answers: Mapping[str, ScoredAnswers], graded: Graded, goal: Goal, *, allow_estimate: bool
) -> dict[str, Choice]:
    """Choose a threshold for each condition of ``draft`` from the answers of that condition alone.

    Each certificate counts the labels of its condition, one for each question, and holds at level 1 - delta by
    itself. A condition without a label in some split gets no threshold where labels choose it.
    """
    conditions = draft.conditions
    assert conditions is not None  # noqa: S101 - the caller made them
    return {
        name: choice_of(
            {split: part_of(one, graded, conditions.by, name) for split, one in answers.items()},
            goal,
            allow_estimate=allow_estimate,
        )
        for name in conditions.groups
    }


def choice_of(parts: Mapping[str, ScoredAnswers], goal: Goal, *, allow_estimate: bool) -> Choice:
    """Choose the threshold of one condition from its answers ``parts``, by split."""
    needed = ("pilot", "certify") if "certify" in goal.shares else ()
    empty = any(not (parts[split].outcome != ABSTAINED).any() for split in needed)
    return Choice(None) if empty else goal.choose(parts, allow_estimate=allow_estimate)


def figures_by_condition(
    test: ScoredAnswers, graded: Graded, conditions: Conditions
) -> dict[str, ConditionFigures]:
    """Return the figures of each condition's threshold on its answers of the test split."""
    return {
        name: figures_of(group, part_of(test, graded, conditions.by, name))
        for name, group in conditions.asked.items()
    }


def figures_of(group: Group, part: ScoredAnswers) -> ConditionFigures:
    """Return the figures of one condition's threshold on its answers of the test split, ``part``."""
    return ConditionFigures(
        group.n, group.threshold, group.certificate, held_out(part, group.threshold), always(part)
    )
