"""The policy of a route: how evidence becomes a confidence, and which confidence is enough to answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

from calibrators import CalibrationError
from calibrators import from_dict as calibrator_from_dict
from gating.combine import COMBINATIONS, Combination
from gating.conditions import Conditions
from gating.fingerprint import Difference, differences
from gating.risk import binomial_cdf, upper_bound
from gating.saved import REMEDY, Saved
from gating.scorers import SCORERS, FeatureScorer
from gating.transform import TO_LOG_ODDS
from gating.types import Certificate, GatingError, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from calibrators import Calibrator
    from gating.combine import Reading
    from gating.scorers import Need, Scorer
    from gating.types import Evidence

#: Version of the saved form of a policy without conditions.
VERSION = 1
#: Version of the saved form of a policy with conditions: code that reads version 1 alone must refuse it.
VERSION_CONDITIONS = 2
#: Relative tolerance for a saved bound: the mathematical library of another machine may round differently.
ROUNDING = 1e-9
#: The keys of a fingerprint that say how many samples are drawn, and how.
OF_SAMPLES = ("samples", "sample_temperature", "sample_top_p")
#: The key of a fingerprint that names the embedding model.
OF_VECTORS = "embeddings"
#: Keys of a fingerprint that matter only to a policy whose scorers need this kind of evidence.
_MATTERS_TO: Mapping[str, Need] = {**dict.fromkeys(OF_SAMPLES, "samples"), OF_VECTORS: "embeddings"}


class Measured(NamedTuple):
    """The raw score of an answer and the probability in [0, 1] that it is right."""

    score: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Policy:
    """Scorers, their combination, a calibrator, a threshold on the confidence, and the requests they apply to.

    ``threshold`` in [0, 1] is None where no threshold met the target; the route must then set one.
    ``fingerprint`` describes how the labelled answers were made; ``fitted_on`` counts the labels of each split.
    With ``conditions`` each group has its own calibrator and threshold, and the policy's ``calibrator`` and
    ``threshold`` are those for answers without passages.
    """

    name: str
    combination: Combination
    calibrator: Calibrator
    threshold: float | None = None
    certificate: Certificate | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    fitted_on: Mapping[str, int] = field(default_factory=dict)
    conditions: Conditions | None = None

    def __post_init__(self) -> None:
        """Check that the threshold is a probability and that the certificates belong to this policy."""
        if self.threshold is not None:
            check_threshold(self.threshold, "policy.threshold")
        elif self.certificate is not None:
            raise GatingError(f"policy.certificate: there is a certificate but no threshold; {REMEDY}")
        groups = () if self.conditions is None else self.conditions.groups.values()
        for certificate in (self.certificate, *(group.certificate for group in groups)):
            if certificate is not None and certificate.fingerprint not in (None, dict(self.fingerprint)):
                raise GatingError(
                    f"policy.certificate.fingerprint: differs from the policy's fingerprint; {REMEDY}"
                )

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """The scorers that read the evidence, in the order of the policy's file."""
        return self.combination.scorers

    @property
    def needs(self) -> frozenset[Need]:
        """The kinds of evidence that the scorers read or that determine an answer's condition."""
        own: frozenset[Need] = frozenset() if self.conditions is None else self.conditions.needs
        return own.union(*(scorer.needs for scorer in self.scorers))

    def threshold_for(self, evidence: Evidence) -> float | None:
        """Return the threshold on the confidence for an answer: that of its group, where there are conditions."""
        if self.conditions is None:
            return self.threshold
        name = self.conditions.of(evidence)
        return None if name is None else self.conditions.groups[name].threshold

    def certificate_for(self, evidence: Evidence) -> Certificate | None:
        """Return the certificate that covers answers like this one, or None.

        A policy without conditions does not record whether its labelled answers had passages, so its certificate
        covers no answer that is known to have some.
        """
        if self.conditions is None:
            return None if evidence.context else self.certificate
        name = self.conditions.of(evidence)
        return None if name is None else self.conditions.groups[name].certificate

    def matches(self, live: Mapping[str, Any]) -> bool:
        """Return whether the policy applies to requests with the fingerprint ``live``; see ``differences``."""
        return not self.differences(live)

    def differences(
        self, live: Mapping[str, Any], *, ignored: Collection[str] = ()
    ) -> tuple[Difference, ...]:
        """Return how a request with the fingerprint ``live`` differs from the labelled ones; () if it matches.

        An empty fingerprint applies to every request. Keys about samples are compared only where a scorer reads
        samples, and the embedding model only where a scorer reads vectors. ``ignored`` are not compared at all.
        """
        unread = [key for key, need in _MATTERS_TO.items() if need not in self.needs]
        return differences(self.fingerprint, live, ignored=(*unread, *ignored))

    def read(self, evidence: Evidence) -> Measured | Unmeasured:
        """Return the raw score (of the single scorer or of the combination) and the confidence."""
        group = None
        if self.conditions is not None:
            group = self.conditions.of(evidence)
            if group is None:
                return Unmeasured("the policy was fitted on no answers of this condition")
        return self._measured(self.combination.read(evidence), group)

    def read_scores(
        self, scores: Sequence[float | Unmeasured], group: str | None = None
    ) -> Measured | Unmeasured:
        """Return the raw score and the confidence, given the ``scores`` (n,) of the policy's scorers in order.

        ``group`` is the answer's condition; it is required for a policy with conditions. Tuning uses this to
        read many answers whose scores are already known.
        """
        if self.conditions is not None and group not in self.conditions.groups:
            return Unmeasured("the policy was fitted on no answers of this condition")
        return self._measured(self.combination.join(scores), group)

    def _measured(self, reading: Reading | Unmeasured, group: str | None) -> Measured | Unmeasured:
        if isinstance(reading, Unmeasured):
            return reading
        confidence = self.confidence_at(reading.log_odds, group)
        if isinstance(confidence, Unmeasured):
            return confidence
        return Measured(reading.score, confidence)

    def confidence(self, evidence: Evidence) -> float | Unmeasured:
        """Return the probability in [0, 1] that the answer is right."""
        measured = self.read(evidence)
        return measured if isinstance(measured, Unmeasured) else measured.confidence

    def confidence_at(self, log_odds: float, group: str | None = None) -> float | Unmeasured:
        """Return the calibrated confidence in [0, 1] for ``log_odds``; never NaN.

        Where there are conditions, the calibrator of ``group`` is used.
        """
        if isnan(log_odds):
            return Unmeasured("the score is NaN")
        if self.conditions is None or group is None:
            confidence = self.calibrator.predict_one(log_odds)
        else:
            confidence = self.conditions.calibrator.predict_one(log_odds, group)
        return confidence if 0.0 <= confidence <= 1.0 else Unmeasured("the calibrator gave no probability")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that ``load`` reads."""
        conditions = self.conditions
        return {
            "version": VERSION if conditions is None else VERSION_CONDITIONS,
            "name": self.name,
            "scorers": [scorer.name for scorer in self.scorers],
            "features": {scorer.name: scorer.scale for scorer in self.scorers if scorer.name not in SCORERS},
            "combination": self.combination.to_dict(),
            "calibrator": self.calibrator.to_dict(),
            "threshold": self.threshold,
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "fingerprint": dict(self.fingerprint),
            "created": self.created,
            "fitted_on": dict(self.fitted_on),
        } | ({} if conditions is None else {"conditions": conditions.to_dict()})

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Policy:
        """Read the policy that ``to_dict`` saved; unknown keys are ignored.

        Raises GatingError, naming the key and the remedy, on another version, a missing key, an unknown scorer
        or kind, and any number that is NaN or out of range.
        """
        policy = Saved(saved, "policy")
        version = policy.get("version")
        if isinstance(version, bool) or version not in (VERSION, VERSION_CONDITIONS):
            raise GatingError(
                f"policy.version: must be {VERSION} or {VERSION_CONDITIONS}, not {version!r}; {REMEDY}"
            )
        features = policy.object("features")
        scorers = tuple(_scorer(name, policy, features) for name in policy.texts("scorers"))
        return cls(
            name=policy.text("name"),
            combination=_combination(scorers, policy.object("combination")),
            calibrator=_calibrator(policy.object("calibrator")),
            threshold=policy.optional_number("threshold"),
            certificate=None
            if policy.get("certificate") is None
            else _certificate(policy.object("certificate")),
            fingerprint=dict(policy.object("fingerprint").values),
            created=policy.text("created"),
            fitted_on=_counts(policy.object("fitted_on")),
            conditions=Conditions.load(policy.object("conditions"), _certificate)
            if version == VERSION_CONDITIONS
            else None,
        )


def check_threshold(threshold: float, place: str) -> None:
    """Raise GatingError, naming ``place``, unless ``threshold`` is a number in [0, 1]."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0.0 <= threshold <= 1.0:
        raise GatingError(f"{place}: must be a number in [0, 1], not {threshold!r}")


def _scorer(name: str, policy: Saved, features: Saved) -> Scorer:
    """Return the scorer of this name from the table, or a feature's scorer on its saved scale."""
    known = SCORERS.get(name)
    if name not in features.values:
        if known is None:
            raise policy.wrong("scorers", f"names among {', '.join(SCORERS)} or the keys of features")
        return known
    text = features.text(name)
    scale = next((scale for scale in TO_LOG_ODDS if scale == text), None)
    if scale is None:
        raise features.wrong(name, f"one of {', '.join(TO_LOG_ODDS)}")
    if known is not None:
        raise GatingError(f"{features.place}.{name}: a feature must not have the name of a scorer; {REMEDY}")
    return FeatureScorer(name, scale)


def _combination(scorers: tuple[Scorer, ...], saved: Saved) -> Combination:
    load = COMBINATIONS.get(saved.text("kind"))
    if load is None:
        raise saved.wrong("kind", f"one of {', '.join(COMBINATIONS)}")
    return load(scorers, saved)


def _calibrator(saved: Saved) -> Calibrator:
    try:
        return calibrator_from_dict(saved.values)
    except CalibrationError as exc:
        raise GatingError(f"{saved.place}: {exc}; {REMEDY}") from exc


def _certificate(saved: Saved) -> Certificate:
    """Read a certificate; raise GatingError where its bound is below the exact bound of its counts."""
    certificate = Certificate(
        target_risk=saved.number("target_risk"),
        delta=saved.number("delta"),
        errors=saved.count("errors"),
        answered=saved.count("answered"),
        total=saved.count("total"),
        bound=saved.number("bound"),
        method=saved.text("method"),
        splits=_counts(saved.object("splits")),
        created=saved.text("created"),
        fingerprint=None
        if saved.values.get("fingerprint") is None
        else dict(saved.object("fingerprint").values),
    )
    # One evaluation of the tail where the bound is right: the exact bound takes some fifty.
    claimed = min(certificate.bound / (1.0 - ROUNDING), 1.0)
    if binomial_cdf(certificate.errors, certificate.answered, claimed) > certificate.delta:
        exact = upper_bound(certificate.errors, certificate.answered, certificate.delta)
        raise saved.wrong("bound", f"at least {exact:.6g}, the exact bound of its counts")
    return certificate


def _counts(saved: Saved) -> dict[str, int]:
    return {key: saved.count(key) for key in saved.values}
