"""Tuning of a policy: splits, fit, choice of the threshold, and figures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from gating.conditions import GROUPINGS, NONE, RESCUED, Group
from gating.fingerprint import ANY_SYSTEM, COMBINATIONS, FIELDS, SYSTEM, learn
from gating.fingerprint import LEAST_LABELS as LEAST_FIELD_LABELS
from gating.policy import Policy
from gating.tuning.by_condition import (
    PLAIN,
    calibrated,
    choose,
    figures_by_condition,
    fitted_on,
    grouping_of,
)
from gating.tuning.choice import AUTO, check_calibrator, fit_policy_parts
from gating.tuning.figures import Figures, ScorerFigures, always, cheaper_figures, held_out
from gating.tuning.goals import shares_of
from gating.tuning.graded import RIGHT
from gating.tuning.rescued import with_rescued
from gating.tuning.scored import score_answers, thresholds_of
from gating.tuning.splits import deal, first_of_each, split
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gating.tuning.goals import Choice, Goal
    from gating.tuning.graded import Graded
    from gating.tuning.scored import ScoredAnswers
    from gating.tuning.splits import Rows
    from gating.types import Certificate

#: Fewest labels: twenty right answers still allow a risk of 11 % at confidence 90 % (Clopper & Pearson).
LEAST_LABELS = 20
#: The names of the splits, in the order of the figures.
SPLITS = ("fit", "pilot", "certify", "test")


@dataclass(frozen=True, slots=True)
class Provenance:
    """The name, the origin and the date of a policy.

    ``fingerprint`` describes how the answers were made, empty where that is unknown; ``created`` is the date,
    passed in because gating reads no clock.
    """

    name: str = "policy"
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """The result of tuning: the policy, its figures, the rows of each split, and the read answers.

    ``answers[figures.held_out_from]`` holds the confidences and outcomes of the figures, ``answers["certify"]`` those
    that certify, and ``answers["pilot"]`` those that choose where the walk starts. Where the target was not reached,
    ``choice`` names the certificate that the data support.
    """

    policy: Policy
    figures: Figures
    choice: Choice
    splits: Mapping[str, Rows]
    answers: Mapping[str, ScoredAnswers]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and, without a certificate, what the data support instead, as plain JSON values."""
        supported = self.choice.supported
        return self.figures.to_dict() | {
            "supported": None if supported is None else supported.to_dict(),
            "labels_needed": self.choice.labels_needed,
        }


def tune(
    graded: Graded,
    goal: Goal,
    *,
    scorers: Sequence[str] | None = None,
    calibrator: str = AUTO,
    seed: int = 0,
    allow_estimate: bool = False,
    provenance: Provenance | None = None,
    by: str | None = None,
) -> Tuned:
    """Fit a policy, choose its threshold for ``goal``, and evaluate it on answers that neither step used.

    ``scorers`` names the scorers to combine (None: the best single one among the cheapest; ``auto`` alone: the
    cheapest that are no worse than the best); ``calibrator`` is ``auto`` or a name in ``CALIBRATORS``. Where
    records say whether they had passages, each condition gets its own calibrator and threshold; ``by`` names the
    grouping (None: with or without passages). Where records also have the answers to the same questions without
    passages, so do rescued answers. The same ``graded`` and ``seed`` give the same policy; labels that certify
    are dealt without the seed. Raises GatingError on
    unknown names, and on fewer than LEAST_LABELS labels, labels of one class, or too few questions.
    """
    check_calibrator(calibrator)
    _check_labels(graded)
    provenance = provenance or Provenance()
    rng = np.random.default_rng(seed)
    by = grouping_of(graded, by)
    splits = _splits(graded, goal, rng, by)
    fingerprint, splits = _with_fields(provenance.fingerprint, graded, splits)
    vocabulary = None
    if by is not None:
        graded, vocabulary = fitted_on(graded, splits["fit"], by)
    parts = fit_policy_parts(graded, splits["fit"], scorers, calibrator, rng)
    draft = Policy(
        provenance.name,
        parts.combination,
        parts.calibrator,
        fingerprint=fingerprint,
        created=provenance.created,
        conditions=None if by is None else calibrated(parts, graded, by, vocabulary),
    )
    held = held_out_split(splits)
    answers = {name: score_answers(draft, graded, rows) for name, rows in splits.items() if name != "fit"}
    if "certify" in splits and "pilot" not in splits:
        start = first_of_each(graded.group, graded.row_place, splits["fit"])
        answers["pilot"] = score_answers(draft, graded, start)
    n = {name: int(splits[name].size) if name in splits else 0 for name in SPLITS}
    draft = replace(draft, fitted_on=n)
    policy, choice = _with_thresholds(draft, answers, graded, goal, allow_estimate=allow_estimate)
    alone = {
        column: ScorerFigures.alone(found, graded, splits["fit"], splits[held], calibrator, rng)
        for column, found in graded.columns.items()
    }
    figures = _figures(graded, policy, alone, answers[held], n, held)
    if parts.cheaper is not None and by is None:  # with conditions the gain would include theirs
        found = cheaper_figures(parts.cheaper, answers[held], graded, splits["fit"], calibrator, rng)
        figures = replace(figures, cheaper=found)
    policy, rescued = with_rescued(policy, graded, splits, goal)
    if rescued is not None:
        figures = replace(figures, conditions={**figures.conditions, RESCUED: rescued})
    figures = replace(figures, considered=parts.considered)
    return Tuned(policy, figures, choice, MappingProxyType(splits), MappingProxyType(answers))


def held_out_split(splits: Mapping[str, Rows]) -> str:
    """Return the split on which figures are computed: ``test`` where there is one, else the certification labels.

    The fit uses no certification label, so figures on them are unbiased at any threshold that is fixed in advance; at
    the chosen threshold they are slightly optimistic, and the certificate's bound is what holds.
    """
    return "test" if "test" in splits else "certify"


def _with_thresholds(
    draft: Policy,
    answers: Mapping[str, ScoredAnswers],
    graded: Graded,
    goal: Goal,
    *,
    allow_estimate: bool,
) -> tuple[Policy, Choice]:
    """Return the policy with the thresholds that the goal chose, and the choice to report."""
    conditions = draft.conditions
    if conditions is None:
        choice = goal.choose(answers, allow_estimate=allow_estimate)
        certificate = _signed(choice.certificate, draft)
        return replace(draft, threshold=choice.threshold, certificate=certificate), choice
    chosen = choose(draft, answers, graded, goal, allow_estimate=allow_estimate)
    groups = {
        name: replace(
            group,
            threshold=chosen[name].threshold,
            certificate=_signed(chosen[name].certificate, draft),
        )
        for name, group in conditions.groups.items()
    }
    plain = next(iter(groups.values())) if len(groups) == 1 else groups.get(NONE, Group(None))
    policy = replace(
        draft,
        threshold=plain.threshold,
        certificate=plain.certificate,
        conditions=replace(conditions, groups=groups),
    )
    told_first = sorted(chosen, key=lambda name: (chosen[name].certificate is None, name != NONE))
    return policy, chosen[told_first[0]]


def _check_labels(graded: Graded) -> None:
    labels = int(graded.labelled.sum())
    if labels < LEAST_LABELS:
        raise GatingError(
            f"{labels} answers are labelled correct or incorrect; at least {LEAST_LABELS} are needed, "
            "and several hundred for a certificate"
        )
    right = int((graded.outcome == RIGHT).sum())
    if right in (0, labels):
        raise GatingError(
            f"all {labels} labels are {'correct' if right else 'incorrect'}; "
            "fitting needs both kinds: label more answers"
        )


def _splits(graded: Graded, goal: Goal, rng: np.random.Generator, by: str | None) -> dict[str, Rows]:
    shares = shares_of(goal, np.unique(graded.group).size)
    certifies = "certify" in shares
    splits = deal(graded.group_place, shares) if certifies else split(graded.group, shares, rng)
    if certifies:
        # Fitted conditions are not known yet, so one answer of a question is kept for each plain condition.
        plain = PLAIN if by is not None and GROUPINGS[by].fitted else by
        splits["certify"] = _one_of_each(graded, splits["certify"], plain)
    empty = [name for name, rows in splits.items() if not rows.size]
    if empty:
        raise GatingError(
            f"{len(graded)} records of {np.unique(graded.group).size} questions leave no answers for the split "
            f"{empty[0]}; each question (group) belongs to one split: add more questions"
        )
    return splits


def _with_fields(
    fingerprint: Mapping[str, Any], graded: Graded, splits: dict[str, Rows]
) -> tuple[dict[str, Any], dict[str, Rows]]:
    """Add the request fields to the fingerprint, and drop rows whose combination of values is not listed.

    The choice depends on the counts of labels for the fit alone, never on their correctness, and is made before
    anything is fitted or certified.
    """
    if not graded.kinds:
        return dict(fingerprint), splits
    for kinds, kind in ((graded.kinds, graded.kind), _with_any_system(graded)):
        labels = {
            name: np.bincount(kind[rows[graded.labelled[rows]]], minlength=len(kinds)).tolist()
            for name, rows in splits.items()
        }
        learnt = learn(kinds, labels)
        if learnt is not None:
            break
    else:
        raise GatingError(
            f"the records have {len(graded.kinds)} different combinations of request fields, and none of them has "
            f"{LEAST_FIELD_LABELS} labels for the fit; label more answers of one kind of request"
        )
    kept = np.isin(kind, sorted(learnt.kept))
    found = {**fingerprint, FIELDS: learnt.fields}
    if learnt.combinations:
        found[COMBINATIONS] = learnt.combinations
    return found, {name: rows[kept[rows]] for name, rows in splits.items()}


def _with_any_system(graded: Graded) -> tuple[list[dict[str, Any]], NDArray[np.intp]]:
    """Return the kinds of requests without regard to their system prompts, and the number of each answer's kind.

    A policy that is fitted so matches only routes that leave the system prompt free (``prompt: any``).
    """
    kinds: list[dict[str, Any]] = []
    numbers = []
    for fields in graded.kinds:
        freed = {**fields, SYSTEM: ANY_SYSTEM}
        if freed not in kinds:
            kinds.append(freed)
        numbers.append(kinds.index(freed))
    return kinds, np.array(numbers, dtype=np.intp)[graded.kind]


def _one_of_each(graded: Graded, rows: Rows, by: str | None) -> Rows:
    """Return one answer of each question (under each condition), as an exact bound requires."""
    if by is None:
        return first_of_each(graded.group, graded.row_place, rows)
    names = graded.conditions[by]
    parts = [
        first_of_each(graded.group, graded.row_place, rows[names[rows] == name])
        for name in np.unique(names[rows]).tolist()
    ]
    return np.sort(np.concatenate(parts)) if parts else rows


def _signed(certificate: Certificate | None, draft: Policy) -> Certificate | None:
    """Return the certificate with the policy's splits, date and fingerprint."""
    if certificate is None:
        return None
    return replace(
        certificate,
        splits=dict(draft.fitted_on),
        created=draft.created,
        fingerprint=dict(draft.fingerprint),
    )


def _figures(
    graded: Graded,
    policy: Policy,
    alone: Mapping[str, ScorerFigures],
    test: ScoredAnswers,
    n: Mapping[str, int],
    held: str,
) -> Figures:
    confidence, correct = test.labelled()
    labels = graded.outcome[test.rows][graded.labelled[test.rows]]
    return Figures(
        n=n,
        base_rate=float((labels == RIGHT).mean()) if labels.size else None,
        scorers=alone,
        policy=ScorerFigures.of(confidence, confidence, correct),
        calibrator=policy.calibrator.kind,
        threshold=policy.threshold,
        certificate=policy.certificate,
        held_out_from=held,
        held_out=held_out(test, thresholds_of(policy, graded, test.rows)),
        always=always(test),
        conditions={} if policy.conditions is None else figures_by_condition(test, graded, policy.conditions),
    )
