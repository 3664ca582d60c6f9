"""Under which condition an answer was given: without passages, with them, and how it stands to the one without.

Passages inflate logprobs: a calibrator fitted without them takes wrong answers for confident ones. So answers
with passages are a group of their own, with a calibrator that is drawn towards that of all
(``calibrators.groups``), a threshold of their own, and, if any, a certificate of their own.
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
#: Those of ``by: contrast``, beside NONE: the four states of the two answers.
AGREE, DISAGREE, OPEN_REFUSED, CLOSED_REFUSED = "agree", "disagree", "open_refused", "closed_refused"
#: Those of ``by: passages``, beside NONE: whether the passages speak of what is asked.
RELATED, UNRELATED = "related", "unrelated"
#: In every grouping, beside NONE: without passages, where the answer with them was withheld.
RESCUED = "rescued"
#: From this agreement in [0, 1] on two answers agree.
AGREEING = 0.5


def by_context(evidence: Evidence, _: Vocabulary | None = None) -> str | None:
    """With passages or without; None where nobody says."""
    if evidence.context is None:
        return None
    return CONTEXT if evidence.context else NONE


def by_contrast(evidence: Evidence, _: Vocabulary | None = None) -> str | None:
    """Without passages, or the state of the two answers; None where one of them is missing or says nothing."""
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
    """Without passages, or with some that speak of what is asked, or of something else; None where nobody knows."""
    if by_context(evidence) == NONE:
        return NONE
    if evidence.words is None or vocabulary is None:
        return None
    return RELATED if vocabulary.related(evidence.words) else UNRELATED


@dataclass(frozen=True, slots=True)
class Grouping:
    """A way to tell conditions apart, and what it needs beside the scorers' own evidence.

    ``fitted``: it knows the words of the questions that it was fitted on.
    """

    condition: Callable[[Evidence, Vocabulary | None], str | None]
    needs: frozenset[Need] = frozenset()
    fitted: bool = False


#: What a policy's ``conditions.by`` may be.
GROUPINGS: Mapping[str, Grouping] = MappingProxyType(
    {
        "context": Grouping(by_context),
        "contrast": Grouping(by_contrast, frozenset({"closed_book"})),
        "passages": Grouping(by_passages, fitted=True),
    }
)


@dataclass(frozen=True, slots=True)
class Group:
    """What holds for one condition: ``threshold`` in [0, 1], or None where none met the target.

    ``certificate`` counts labels of this condition alone; ``n`` answers of it were calibrated on.
    """

    threshold: float | None
    certificate: Certificate | None = None
    n: int = 0

    def __post_init__(self) -> None:
        """Refuse a threshold that is no probability, and a certificate without one."""
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise GatingError(
                f"policy.conditions: the threshold {self.threshold!r} is not in [0, 1]; {REMEDY}"
            )
        if self.threshold is None and self.certificate is not None:
            raise GatingError(f"policy.conditions: a certificate without a threshold; {REMEDY}")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The groups of a policy, by name; an answer of another condition, or of none, is unmeasured."""

    by: str
    calibrator: GroupedCalibrator
    groups: Mapping[str, Group] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        """Refuse a grouping that is unknown, and no groups."""
        if self.by not in GROUPINGS:
            raise GatingError(
                f"policy.conditions.by: must be one of {', '.join(GROUPINGS)}, not {self.by!r}; {REMEDY}"
            )
        if GROUPINGS[self.by].fitted != (self.vocabulary is not None):
            raise GatingError(f"policy.conditions.vocabulary: belongs to by: passages alone; {REMEDY}")
        if not self.groups:
            raise GatingError(f"policy.conditions.groups: there are none; {REMEDY}")
        if RESCUED in self.groups and self.groups[RESCUED].certificate is not None:
            raise GatingError(f"policy.conditions.groups.{RESCUED}: is never certified; {REMEDY}")

    @property
    def needs(self) -> frozenset[Need]:
        """What is read to tell the condition."""
        return GROUPINGS[self.by].needs

    @property
    def asked(self) -> Mapping[str, Group]:
        """The groups of requests as they come, which the rescued are not: what is certified is told of these."""
        return {name: group for name, group in self.groups.items() if name != RESCUED}

    def of(self, evidence: Evidence) -> str | None:
        """The answer's group, or None where it is in none of them.

        Where rescued answers have no group of their own, they are answers without passages.
        """
        if evidence.rescued and RESCUED in self.groups:
            return RESCUED
        name = GROUPINGS[self.by].condition(evidence, self.vocabulary)
        return name if name in self.groups else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
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
        """What ``to_dict`` saved; raises GatingError naming the key. ``certificate`` reads one."""
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
