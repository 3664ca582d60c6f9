"""What every calibrator is: a monotone map from a score on the real line to a probability of being right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Never, Self

import numpy as np

from calibrators.errors import CalibrationError, NotFittedError
from calibrators.rows import as_scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["CalibrationError", "Calibrator", "NotFittedError"]


class Calibrator(ABC):
    """A map ``score -> P(right)``, fitted on labels; never decreasing in the score, strictly inside (0, 1).

    Scores live on the real line, like log-odds; an infinite one is read as a far finite one
    (``rows.Levels.of``). Subclasses keep what they learnt in attributes that end in ``_`` and name themselves
    by ``kind``, the key under which they stand in ``CALIBRATORS`` and in a policy's JSON.
    """

    kind: ClassVar[str]
    #: Version of the saved form; a reader refuses any other.
    version: ClassVar[int] = 1

    @abstractmethod
    def fit(self, scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Learn from ``scores`` (n,) and ``correct`` (n,) in {0, 1}, with optional ``weights`` (n,) > 0.

        ``weights`` are inverse propensities, on any scale: they are brought to sum to the effective number of
        labels. Raises CalibrationError on NaN, unequal lengths, no rows, or labels other than 0 and 1.
        """

    @abstractmethod
    def predict_one(self, score: float) -> float:
        """The probability for one score, without arrays: the hot path. Raises CalibrationError on NaN."""

    def predict(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n,) in (0, 1) for ``scores`` (n,); raises CalibrationError on NaN.

        It is ``predict_one`` row by row, because numpy's vectorised exp differs from libm's in the last bit:
        a threshold that was tuned on a tied level must find the same level when it serves.
        """
        rows = as_scores(scores)
        return np.fromiter(map(self.predict_one, rows.tolist()), np.float64, rows.size)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: ``kind``, ``version`` and the learnt parameters."""

    @classmethod
    @abstractmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """The calibrator that ``to_dict`` saved; raises CalibrationError on NaN or another version."""

    def __getattr__(self, name: str) -> Never:
        """Only reached for a missing attribute: say that a learnt one comes from ``fit``."""
        if name.endswith("_") and not name.startswith("_"):
            raise NotFittedError(f"this {type(self).__name__} has no {name!r} yet: call fit first")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
