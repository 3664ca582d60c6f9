"""Conditions: groups of answers with their own calibrator, threshold and certificate.

Passages inflate logprobs: a calibrator fitted on answers without passages is overconfident about answers with
them. Answers with passages therefore form separate groups. The calibrator of a group is shrunk towards the
calibrator of all answers (``calibrators.groups``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from calibrators import CalibrationError
from calibrators.groups import GroupedCalibrator
from gating.answers import is_abstention
from gating.relatedness import Vocabulary
from gating.saved import REMEDY, Saved
from gating.scorers.closed_book import agreement
from gating.types import GatingError, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gating.scorers import Need
    from gating.types import Certificate, Evidence

#: The conditions of ``by: context``.
NONE, CONTEXT = "none", "context"
#: The conditions of ``by: contrast``, besides NONE: how the answers with and without passages compare.
AGREE, DISAGREE, OPEN_REFUSED, CLOSED_REFUSED = "agree", "disagree", "open_refused", "closed_refused"
#: The conditions of ``by: passages``, besides NONE: whether the passages are about the question.
RELATED, UNRELATED = "related", "unrelated"
#: A condition of every grouping: an answer without passages, asked because the one with them was withheld.
RESCUED = "rescued"
#: Two answers agree from this agreement in [0, 1] on.
AGREEING = 0.5


def by_context(evidence: Evidence, _: Vocabulary | None = None) -> str | None:
    """Return whether the answer had passages; None where that is unknown."""
    if evidence.context is None:
        return None
    return CONTEXT if evidence.context else NONE


def by_contrast(evidence: Evidence, _: Vocabulary | None = None) -> str | None:
    """Return NONE, or how the answers with and without passages compare; None where one is missing or empty."""
    if by_context(evidence) == NONE:
        return NONE
    if evidence.closed_book is None:
        return None
    if is_abstention(evidence.answer):
        return OPEN_REFUSED
    if is_abstention(evidence.closed_book.answer):
        return CLOSED_REFUSED
    agreed = agreement(evidence.answer, evidence.closed_book.answer)
    if isinstance(agreed, Unmeasured):
        return None
    return AGREE if agreed >= AGREEING else DISAGREE


def by_passages(evidence: Evidence, vocabulary: Vocabulary | None) -> str | None:
    """Return NONE, or whether the passages are about the question; None where that is unknown."""
    if by_context(evidence) == NONE:
        return NONE
    if evidence.words is None or vocabulary is None:
        return None
    return RELATED if vocabulary.related(evidence.words) else UNRELATED


@dataclass(frozen=True, slots=True)
class Grouping:
    """A way to assign answers to conditions, and the evidence that it needs beyond the scorers'.

    ``fitted``: the grouping uses the words of the questions that it was fitted on.
    """

    condition: Callable[[Evidence, Vocabulary | None], str | None]
    needs: frozenset[Need] = frozenset()
    fitted: bool = False


#: The values of a policy's ``conditions.by``.
GROUPINGS: Mapping[str, Grouping] = MappingProxyType(
    {
        "context": Grouping(by_context),
        "contrast": Grouping(by_contrast, frozenset({"closed_book"})),
        "passages": Grouping(by_passages, fitted=True),
    }
)


@dataclass(frozen=True, slots=True)
class Group:
    """The threshold in [0, 1] of one condition (None where none met the target) and its certificate.

    ``certificate`` counts labels of this condition alone; ``n`` is the number of answers in its calibration.
    """

    threshold: float | None
    certificate: Certificate | None = None
    n: int = 0

    def __post_init__(self) -> None:
        """Raise GatingError for a threshold outside [0, 1], or a certificate without a threshold."""
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise GatingError(
                f"policy.conditions: the threshold {self.threshold!r} is not in [0, 1]; {REMEDY}"
            )
        if self.threshold is None and self.certificate is not None:
            raise GatingError(f"policy.conditions: a certificate without a threshold; {REMEDY}")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The groups of a policy, by name; an answer that belongs to none of them is unmeasured."""

    by: str
    calibrator: GroupedCalibrator
    groups: Mapping[str, Group] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        """Raise GatingError for an unknown grouping, for no groups, or for a certified rescued group."""
        if self.by not in GROUPINGS:
            raise GatingError(
                f"policy.conditions.by: must be one of {', '.join(GROUPINGS)}, not {self.by!r}; {REMEDY}"
            )
        if GROUPINGS[self.by].fitted != (self.vocabulary is not None):
            raise GatingError(
                f"policy.conditions.vocabulary: is required with by: passages, and only there; {REMEDY}"
            )
        if not self.groups:
            raise GatingError(f"policy.conditions.groups: at least one group is needed; {REMEDY}")
        if RESCUED in self.groups and self.groups[RESCUED].certificate is not None:
            raise GatingError(f"policy.conditions.groups.{RESCUED}: cannot have a certificate; {REMEDY}")

    @property
    def needs(self) -> frozenset[Need]:
        """The kinds of evidence that determine the condition."""
        return GROUPINGS[self.by].needs

    @property
    def asked(self) -> Mapping[str, Group]:
        """The groups of clients' requests, without the rescued group; only these can be certified."""
        return {name: group for name, group in self.groups.items() if name != RESCUED}

    def of(self, evidence: Evidence) -> str | None:
        """Return the answer's group, or None where it belongs to none of them.

        Where there is no group for rescued answers, they count as answers without passages.
        """
        if evidence.rescued and RESCUED in self.groups:
            return RESCUED
        name = GROUPINGS[self.by].condition(evidence, self.vocabulary)
        return name if name in self.groups else None

    def to_dict(self) -> dict[str, Any]:
        """Return the conditions as plain JSON values."""
        return {
            "by": self.by,
            "calibrator": self.calibrator.to_dict(),
            "groups": {
                name: {
                    "threshold": group.threshold,
                    "certificate": None if group.certificate is None else group.certificate.to_dict(),
                    "n": group.n,
                }
                for name, group in self.groups.items()
            },
            "vocabulary": None if self.vocabulary is None else self.vocabulary.to_dict(),
        }

    @classmethod
    def load(cls, saved: Saved, certificate: Callable[[Saved], Certificate]) -> Conditions:
        """Read what ``to_dict`` saved, with ``certificate`` for certificates; raises GatingError naming the key."""
        groups = saved.object("groups")
        loaded = {}
        for name in groups.values:
            one = groups.object(name)
            own = one.get("certificate")
            loaded[name] = Group(
                one.optional_number("threshold"),
                None if own is None else certificate(one.object("certificate")),
                one.count("n"),
            )
        try:
            calibrator = GroupedCalibrator.from_dict(saved.object("calibrator").values)
        except CalibrationError as exc:
            raise GatingError(f"{saved.place}.calibrator: {exc}; {REMEDY}") from exc
        words = saved.get("vocabulary")
        vocabulary = None if words is None else Vocabulary.load(saved.object("vocabulary"))
        return cls(saved.text("by"), calibrator, loaded, vocabulary)
