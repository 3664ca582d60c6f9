"""The loop from labels to a policy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from gating.policy import Policy
from gating.tuning.choice import AUTO, check_calibrator, fit_policy_parts
from gating.tuning.figures import Figures, ScorerFigures, always, held_out
from gating.tuning.graded import RIGHT
from gating.tuning.judged import judge
from gating.tuning.splits import one_of_each, split
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gating.tuning.goals import Choice, Goal
    from gating.tuning.graded import Graded
    from gating.tuning.judged import Judged
    from gating.tuning.splits import Rows
    from gating.types import Certificate

#: Fewer labels say nothing: all of twenty right still leaves a risk of 11 % at 90 % (Clopper & Pearson).
LEAST_LABELS = 20
#: Every split's name, in the order in which figures list them.
SPLITS = ("fit", "pilot", "certify", "test")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a policy says of itself beside its numbers.

    ``fingerprint`` names what the answers were made with, empty where that is not known; ``created`` is the
    date, which gating has no clock to read.
    """

    name: str = "policy"
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """The policy; its figures; ``splits`` the rows of each; ``judged`` the answers that were not fitted on.

    ``judged["test"]`` holds the held-out confidences and outcomes, ``judged["certify"]`` those that certify.
    ``choice`` says, where a target was not reached, which certificate the data do support.
    """

    policy: Policy
    figures: Figures
    choice: Choice
    splits: Mapping[str, Rows]
    judged: Mapping[str, Judged]

    def to_dict(self) -> dict[str, Any]:
        """The figures and, where there is no certificate, what the data say instead, as plain JSON values."""
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
) -> Tuned:
    """Fit, choose a threshold for ``goal``, and say what that does on answers that neither of them saw.

    ``scorers`` names what to combine (None: the single best), ``calibrator`` is ``auto`` or a name in
    ``CALIBRATORS``. The same ``graded`` and ``seed`` give the same policy. Raises GatingError on names that
    are unknown and on labels that teach nothing: fewer than LEAST_LABELS, one class, too few questions.
    """
    check_calibrator(calibrator)
    _check_labels(graded)
    provenance = provenance or Provenance()
    rng = np.random.default_rng(seed)
    splits = _splits(graded, goal, rng)
    combination, fitted = fit_policy_parts(graded, splits["fit"], scorers, calibrator, rng)
    draft = Policy(provenance.name, combination, fitted)
    judged = {name: judge(draft, graded, rows) for name, rows in splits.items() if name != "fit"}
    choice = goal.choose(judged, allow_estimate=allow_estimate)
    n = {name: int(splits[name].size) if name in splits else 0 for name in SPLITS}
    policy = replace(
        draft,
        threshold=choice.threshold,
        certificate=_dated(choice.certificate, n, provenance.created),
        fingerprint=dict(provenance.fingerprint),
        created=provenance.created,
        fitted_on=n,
    )
    alone = {
        column: ScorerFigures.alone(found, graded, splits["fit"], splits["test"], calibrator, rng)
        for column, found in graded.columns.items()
    }
    figures = _figures(graded, policy, alone, judged["test"], n)
    return Tuned(policy, figures, choice, MappingProxyType(splits), MappingProxyType(judged))


def _check_labels(graded: Graded) -> None:
    labels = int(graded.labelled.sum())
    if labels < LEAST_LABELS:
        raise GatingError(
            f"{labels} answers are labelled correct or incorrect; at least {LEAST_LABELS} are needed, "
            "and some hundred for a certificate"
        )
    right = int((graded.outcome == RIGHT).sum())
    if right in (0, labels):
        raise GatingError(
            f"all {labels} labels are {'correct' if right else 'incorrect'}; "
            "a confidence is learnt from both kinds: label more answers"
        )


def _splits(graded: Graded, goal: Goal, rng: np.random.Generator) -> dict[str, Rows]:
    splits = split(graded.group, goal.shares, rng)
    if "certify" in splits:
        splits["certify"] = one_of_each(graded.group, splits["certify"], rng)
    empty = [name for name, rows in splits.items() if not rows.size]
    if empty:
        raise GatingError(
            f"{len(graded)} records of {np.unique(graded.group).size} questions leave nothing for the split "
            f"{empty[0]}; a question (group) stands in one split only: bring more questions"
        )
    return splits


def _dated(certificate: Certificate | None, n: Mapping[str, int], created: str) -> Certificate | None:
    return None if certificate is None else replace(certificate, splits=dict(n), created=created)


def _figures(
    graded: Graded, policy: Policy, alone: Mapping[str, ScorerFigures], test: Judged, n: Mapping[str, int]
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
        held_out=held_out(test, policy.threshold),
        always=always(test),
    )
