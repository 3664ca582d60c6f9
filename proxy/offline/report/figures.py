"""The figures of the report. Unknown figures are None, never NaN."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from calibrators.metrics import (
    aurc,
    auroc,
    auroc_interval,
    brier,
    brier_skill,
    ece,
    ece_noise_floor,
    excess_aurc,
    group_bootstrap,
    log_loss,
    smooth_ece,
)
from gating.fingerprint import described
from gating.risk import lower_bound
from gating.tuning.figures import HeldOut, always, held_out
from proxy import records as files
from proxy.offline.report.comparison import Comparison, compare, halves, one_of_each_question
from proxy.offline.report.curves import (
    LEVEL,
    CurvePoint,
    Histogram,
    Interval,
    ReliabilityBin,
    histogram,
    reliability_bins,
    risk_curve,
    share_interval,
)
from proxy.offline.report.scoring import Source, score_records
from proxy.offline.report.strategies import SamplingCosts, sampling_modes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from gating import Policy
    from gating.tuning import ScoredAnswers, ScorerFigures, Tuned
    from proxy.offline.evaluation.overrefusal import ConditionCounts
    from proxy.offline.report.examples import Example
    from proxy.offline.report.scoring import ScoredFile
    from proxy.offline.report.strategies import Cascade, Strategy
    from proxy.records import Record

#: The most answers that are resampled; with more, the interval is narrower than the digits that are shown.
MOST_RESAMPLED = 50_000
DRAWS = 500
#: The seed of the resampling and of the comparison's split, so that the same records give the same page.
SEED = 0


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of the confidences over the ``n`` answers that have a confidence and a label.

    Intervals have level LEVEL. The interval of the skill is resampled by question, and None for more than
    MOST_RESAMPLED answers.
    """

    n: int
    base_rate: float | None
    auroc: float | None
    auroc_interval: Interval | None
    brier: float | None
    brier_skill: float | None
    brier_skill_interval: Interval | None
    log_loss: float | None
    ece: float | None
    ece_noise_floor: float | None
    smooth_ece: float | None
    aurc: float | None
    excess_aurc: float | None

    @classmethod
    def of(cls, judged: ScoredAnswers, group: NDArray[np.intp]) -> Self:
        """Compute the figures from scored answers and their question numbers, ``group`` (n,)."""
        told = confidence, correct = judged.labelled()
        few = correct.size <= MOST_RESAMPLED
        return cls(
            n=correct.size,
            base_rate=float(correct.mean()) if correct.size else None,
            auroc=auroc(*told),
            auroc_interval=auroc_interval(*told, LEVEL),
            brier=brier(*told),
            brier_skill=brier_skill(*told),
            brier_skill_interval=group_bootstrap(
                brier_skill,
                *told,
                np.random.default_rng(SEED),
                groups=group[judged.usable],
                draws=DRAWS,
                level=LEVEL,
            )
            if few
            else None,
            log_loss=log_loss(*told),
            ece=ece(*told),
            ece_noise_floor=ece_noise_floor(confidence),
            smooth_ece=smooth_ece(*told),
            aurc=aurc(*told),
            excess_aurc=excess_aurc(*told),
        )


@dataclass(frozen=True, slots=True)
class ReportFigures:
    """The results of ``policy`` on ``n`` answers to ``questions``; ``gated`` is None without a threshold.

    ``unmeasured`` answers have no confidence and are withheld. The fingerprints of ``unlike`` answers differ from the
    policy's. ``scorers`` holds each scorer alone, where its fit did not see these answers. ``contradicted`` says that
    the risk on these answers is above the certified one at the certificate's level.
    """

    policy: Policy
    source: Source
    n: int
    questions: int
    unmeasured: int
    unlike: int
    quality: Quality
    always: HeldOut
    gated: HeldOut | None
    gated_risk_interval: Interval | None
    contradicted: bool
    curve: tuple[CurvePoint, ...]
    reliability: tuple[ReliabilityBin, ...]
    histogram: Histogram
    comparison: Comparison
    scorers: Mapping[str, ScorerFigures]
    examples: Mapping[str, tuple[Example, ...]]
    #: Counts by condition, for the model ``alone`` and ``gated``; empty without conditions.
    contexts: Mapping[str, Mapping[str, ConditionCounts]] = field(default_factory=dict)
    #: The strategies by sampling mode; empty where the policy reads no samples.
    sampling: Mapping[str, Strategy] = field(default_factory=dict)
    #: The cascade to a stronger route; None where none was given.
    cascade: Cascade | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures of the page as plain JSON values."""
        policy = self.policy
        certificate = policy.certificate
        return {
            "policy": {
                "name": policy.name,
                "scorers": [scorer.name for scorer in policy.scorers],
                "calibrator": policy.calibrator.kind,
                "threshold": policy.threshold,
                "certificate": None if certificate is None else certificate.to_dict(),
                "fingerprint": described(policy.fingerprint),
                "created": policy.created,
                "fitted_on": dict(policy.fitted_on),
            },
            "records": asdict(self.source),
            "n": self.n,
            "questions": self.questions,
            "unmeasured": self.unmeasured,
            "unlike": self.unlike,
            "quality": asdict(self.quality),
            "always": asdict(self.always),
            "gated": None if self.gated is None else asdict(self.gated),
            "gated_risk_interval": self.gated_risk_interval,
            "contradicted": self.contradicted,
            "risk_coverage": [asdict(point) for point in self.curve],
            "reliability": [asdict(one) for one in self.reliability],
            "histogram": asdict(self.histogram),
            "rules": asdict(self.comparison),
            "scorers": {name: asdict(figures) for name, figures in self.scorers.items()},
            "contexts": {
                who: {name: tally.to_dict() for name, tally in some.items()}
                for who, some in self.contexts.items()
            },
            "sampling": {name: asdict(way) for name, way in self.sampling.items()},
            "cascade": None if self.cascade is None else asdict(self.cascade),
            "examples": {kind: [asdict(one) for one in some] for kind, some in self.examples.items()},
        }


def figures_of(
    records: Iterable[Record],
    policy: Policy,
    source: Source,
    *,
    level: float | None = None,
    cascade: Cascade | None = None,
) -> ReportFigures:
    """Compute the figures of a policy on graded answers; ``level``: see ``sampling_modes``."""
    reading = score_records(records, policy, level)
    rng = np.random.default_rng(SEED)
    compared = compare(*halves(reading, rng), policy.certificate, rng)
    return replace(_figures(reading, policy, source, compared, {}), cascade=cascade)


def sampling_of_tuned(path: Path, tuned: Tuned, level: float | None = None) -> dict[str, Strategy]:
    """Return the strategies by sampling mode on the answers of the records at ``path`` that the fit did not use."""
    draws = SamplingCosts(tuned.policy, sampling_modes(level))
    test = set(tuned.splits[tuned.figures.held_out_from].tolist())
    for row, (record, _) in enumerate(files.lines(path, files.Record)):
        if row in test:
            draws.add(record)
    return draws.ways()


def figures_of_tuned(path: Path, tuned: Tuned, level: float | None = None) -> ReportFigures:
    """Compute the figures of a tuned policy on answers that the fit did not use: ``figures.held_out_from``.

    The rules are compared on the labels that chose the threshold, where there are such. Raises ConfigError.
    """
    held: Literal["test", "certify"] = "test" if "test" in tuned.splits else "certify"
    test, judged = set(tuned.splits[held].tolist()), tuned.answers
    pilot = dict.fromkeys(judged["pilot"].rows.tolist(), "") if "pilot" in judged else {}

    def of_test() -> Iterator[Record]:
        for row, (record, _) in enumerate(files.lines(path, files.Record)):
            if row in pilot:
                pilot[row] = record.group or record.id
            if row in test:
                yield record

    reading = score_records(of_test(), tuned.policy, level)
    rng = np.random.default_rng(SEED)
    if pilot:
        # The certification split already has one answer of each question.
        parts = one_of_each_question(judged["pilot"], list(pilot.values()), rng), judged["certify"]
    else:
        parts = halves(reading, rng)
    fit_pilot = bool(pilot) and "pilot" not in tuned.splits
    compared = compare(*parts, tuned.policy.certificate, rng, pilot_is_fit=fit_pilot)
    return _figures(reading, tuned.policy, Source(path.name, held), compared, tuned.figures.scorers)


def _figures(
    reading: ScoredFile,
    policy: Policy,
    source: Source,
    comparison: Comparison,
    scorers: Mapping[str, ScorerFigures],
) -> ReportFigures:
    judged = reading.answers
    gated = held_out(judged, policy.threshold if reading.thresholds is None else reading.thresholds)
    return ReportFigures(
        policy=policy,
        source=source,
        n=len(judged),
        questions=reading.questions,
        unmeasured=int((~judged.measured).sum()),
        unlike=reading.unlike,
        quality=Quality.of(judged, reading.group),
        always=always(judged),
        gated=gated,
        gated_risk_interval=None if gated is None else share_interval(gated.wrong, gated.right + gated.wrong),
        # With conditions, each has a separate certificate, and none covers all answers together.
        contradicted=policy.conditions is None and _contradicted(policy, gated),
        curve=risk_curve(judged),
        reliability=reliability_bins(judged),
        histogram=histogram(judged),
        comparison=comparison,
        scorers=scorers,
        examples=reading.examples,
        contexts=reading.contexts,
        sampling=reading.sampling,
    )


def _contradicted(policy: Policy, gated: HeldOut | None) -> bool:
    certificate = policy.certificate
    if certificate is None or gated is None:
        return False
    least = lower_bound(gated.wrong, gated.right + gated.wrong, certificate.delta)
    return least > certificate.target_risk
