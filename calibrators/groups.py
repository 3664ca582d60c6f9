"""Calibration by group, with each group's curve shrunk towards the curve of all answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from calibrators.errors import CalibrationError
from calibrators.rows import as_labels, as_scores, as_weights
from calibrators.saved import check_header, field, number
from calibrators.table import from_dict, named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from calibrators.base import Calibrator

#: Number of labels at which a group's curve has the same weight as the curve of all; see ``GroupedCalibrator``.
HALF_TRUST = 20.0


class GroupedCalibrator:
    """One calibrator for all labels and one for each group (for example with or without context).

    The log-odds of a score in group g are ``(1 − v) · global + v · own`` with ``v = n_g / (n_g + half_trust)``:
    the posterior mean of a normal model whose prior has the weight of ``half_trust`` labels (shrinkage as in
    Efron & Morris 1975). 20 was chosen among 5 to 200 by simulation (six groups of 20 to 1,000 labels, Platt
    curves whose intercepts differ with standard deviation 0.25, 0.5 and 1, 40 draws): its held-out log loss is at
    most 0.0045 nats above the best for the setting; with 50 it is up to 0.016 above, and with the groups alone or
    the global curve alone more. An unknown group gets the global curve.
    """

    kind: ClassVar[str] = "grouped"
    version: ClassVar[int] = 1
    global_: Calibrator
    #: The calibrator of each group and its weight v in [0, 1).
    groups_: Mapping[str, tuple[Calibrator, float]]

    def __init__(self, calibrator: str = "platt", half_trust: float = HALF_TRUST) -> None:
        if not (half_trust > 0 and math.isfinite(half_trust)):
            raise CalibrationError(f"half_trust is {half_trust}: a finite number of labels above 0 is needed")
        self.calibrator = named(calibrator).kind
        self.half_trust = half_trust

    def fit(
        self,
        scores: ArrayLike,
        correct: ArrayLike,
        groups: Sequence[str],
        weights: ArrayLike | None = None,
    ) -> Self:
        """Fit to ``scores`` (n,), ``correct`` (n,), ``groups`` (n,) and optional ``weights`` (n,) > 0; return self.

        Raises CalibrationError as ``Calibrator.fit``, and where the lengths differ.
        """
        values = as_scores(scores)
        labels = as_labels(correct, values.size)
        weight = as_weights(weights, values.size)
        names, index = np.unique(_names(groups, values.size), return_inverse=True)
        kind = named(self.calibrator)
        self.global_ = kind().fit(values, labels, weight)
        fitted = {}
        for number_of, name in enumerate(names.tolist()):
            rows = index == number_of
            own = None if weight is None else weight[rows]
            n = float(rows.sum()) if own is None else float(own.sum() ** 2 / np.square(own).sum())
            fitted[name] = (kind().fit(values[rows], labels[rows], own), self._share(n))
        self.groups_ = fitted
        return self

    def with_group(self, name: str, scores: ArrayLike, correct: ArrayLike) -> Self:
        """Return a copy with one more group, fitted to ``scores`` (n,) and ``correct`` (n,).

        Use it for a group whose members are known only after the others are fitted. Raises CalibrationError as
        ``fit``.
        """
        values = as_scores(scores)
        own = named(self.calibrator)().fit(values, as_labels(correct, values.size))
        more = type(self)(self.calibrator, self.half_trust)
        more.global_ = self.global_
        more.groups_ = {**self.groups_, name: (own, self._share(values.size))}
        return more

    def _share(self, n: float) -> float:
        """Return the weight in [0, 1) of the calibrator of a group with ``n`` labels."""
        return n / (n + self.half_trust)

    def predict_one(self, score: float, group: str) -> float:
        """Return the probability in (0, 1) for one score of ``group``; raises CalibrationError on NaN."""
        overall = self.global_.predict_one(score)
        if group not in self.groups_:
            return overall
        own, share = self.groups_[group]
        log_odds = (1 - share) * _logit(overall) + share * _logit(own.predict_one(score))
        return 1 / (1 + math.exp(-log_odds))

    def predict(self, scores: ArrayLike, groups: Sequence[str]) -> NDArray[np.float64]:
        """Return probabilities (n,) for ``scores`` (n,) of ``groups`` (n,), row by row as ``predict_one``."""
        rows = as_scores(scores)
        names = _names(groups, rows.size).tolist()
        return np.fromiter(map(self.predict_one, rows.tolist(), names), np.float64, rows.size)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the calibrators nested."""
        return {
            "kind": self.kind,
            "version": self.version,
            "calibrator": self.calibrator,
            "half_trust": self.half_trust,
            "global": self.global_.to_dict(),
            "groups": {
                name: {"share": share, "calibrator": own.to_dict()}
                for name, (own, share) in self.groups_.items()
            },
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` saved; raises CalibrationError on NaN, a missing key or another version."""
        check_header(saved, cls.kind, cls.version)
        grouped = cls(field(saved, "calibrator"), number(saved, "half_trust"))
        grouped.global_ = from_dict(field(saved, "global"))
        groups = field(saved, "groups")
        if not isinstance(groups, dict):
            raise CalibrationError(f"saved calibrator: groups is {type(groups).__name__}, not a mapping")
        grouped.groups_ = {
            name: (from_dict(field(one, "calibrator")), number(one, "share", 0, 1))
            for name, one in groups.items()
        }
        return grouped


def _names(groups: Sequence[str], n: int) -> NDArray[np.str_]:
    """Return the group names (n,) as strings; raises CalibrationError on another shape."""
    names = np.asarray(groups, dtype=np.str_)
    if names.shape != (n,):
        raise CalibrationError(f"groups: shape {names.shape} for {n} rows")
    return names


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
