"""A policy whose conditions have calibrators and thresholds of their own."""

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
    from gating.tuning.judged import Judged
    from gating.tuning.splits import Rows

#: The grouping that needs no further call.
PLAIN = "context"


def grouping_of(graded: Graded, by: str | None) -> str | None:
    """How conditions are told apart: as ``by`` says, else by the passages where any record speaks of them.

    None: not at all. Raises GatingError on a grouping that is unknown, or that no record tells.
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
    # Two answers tell their state by themselves; whether there were passages must be said of each.
    if told == 0 or (by != "contrast" and count < len(graded)):
        raise GatingError(
            f"conditions: {len(graded) - count:,} of {len(graded):,} records do not say whether they had "
            'passages; give each a `condition` ("none" without), as `idk evaluate --contexts` does, or leave it out '
            "of all"
        )
    return by


def fitted_on(graded: Graded, rows: Rows, by: str) -> tuple[Graded, Vocabulary | None]:
    """The answers with the conditions that only a fit can tell, learnt from those at ``rows`` (m,)."""
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
            f"conditions: no record tells its question and passages, which {by} reads; records need `question` "
            "and `context`, as `idk evaluate --contexts` writes them"
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
    """Groups without thresholds yet: each group's calibrator, drawn towards that of all (n / (n + 20) its own)."""
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


def part_of(judged: Judged, graded: Graded, by: str, name: str) -> Judged:
    """Those of one condition."""
    rows = graded.conditions[by][judged.rows] == name
    return replace(
        judged,
        rows=judged.rows[rows],
        outcome=judged.outcome[rows],
        confidence=judged.confidence[rows],
        measured=judged.measured[rows],
    )


def choose(
    draft: Policy, judged: Mapping[str, Judged], graded: Graded, goal: Goal, *, allow_estimate: bool
) -> dict[str, Choice]:
    """A threshold for each condition of ``draft`` on the answers of that condition alone.

    Each certificate counts its own condition's labels, one of a question, and holds at level 1 - delta by
    itself. A condition of which a split has no label gets no threshold where labels choose it.
    """
    conditions = draft.conditions
    assert conditions is not None  # noqa: S101 - the caller made them
    return {
        name: choice_of(
            {split: part_of(one, graded, conditions.by, name) for split, one in judged.items()},
            goal,
            allow_estimate=allow_estimate,
        )
        for name in conditions.groups
    }


def choice_of(parts: Mapping[str, Judged], goal: Goal, *, allow_estimate: bool) -> Choice:
    """The threshold of one condition, of which ``parts`` are all."""
    needed = [split for split in goal.shares if split not in ("fit", "test")]
    empty = any(not (parts[split].outcome != ABSTAINED).any() for split in needed)
    return Choice(None) if empty else goal.choose(parts, allow_estimate=allow_estimate)


def figures_by_condition(test: Judged, graded: Graded, conditions: Conditions) -> dict[str, ConditionFigures]:
    """What each condition's threshold does on its answers of the test split."""
    return {
        name: figures_of(group, part_of(test, graded, conditions.by, name))
        for name, group in conditions.asked.items()
    }


def figures_of(group: Group, part: Judged) -> ConditionFigures:
    """What the threshold of one condition does on its answers of the test split, ``part``."""
    return ConditionFigures(
        group.n, group.threshold, group.certificate, held_out(part, group.threshold), always(part)
    )
