"""What every calibrator is: a monotone map from a score on the real line to a probability of being right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray




class CalibrationError(ValueError):
    """The labels or the saved parameters cannot make a calibrator; the message says which and why."""


class Calibrator(ABC):
    """A map ``score -> P(right)``, fitted on labels; never decreasing in the score.

    Subclasses keep what they learnt in attributes that end in ``_`` and name themselves by ``kind``,
    the key under which they stand in ``CALIBRATORS`` and in a policy's JSON.
    """

    kind: ClassVar[str]
    #: Version of the saved form; a reader refuses any other.
    version: ClassVar[int] = 1

    @abstractmethod
    def fit(self, scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Learn from ``scores`` (n,) and ``correct`` (n,) in {0, 1}, with optional ``weights`` (n,) > 0.

        Raises CalibrationError on NaN, unequal lengths, no rows, or labels other than 0 and 1.
        """

    @abstractmethod
    def predict(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n,) in [0, 1] for ``scores`` (n,); raises CalibrationError on NaN."""

    def predict_one(self, score: float) -> float:
        """``predict`` for one score, without arrays where a calibrator can do without."""
        return float(self.predict(np.array([score]))[0])

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: ``kind``, ``version`` and the learnt parameters."""

    @classmethod
    @abstractmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """The calibrator that ``to_dict`` saved; raises CalibrationError on NaN or another version."""
