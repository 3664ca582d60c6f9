"""The base class of calibrators: monotone maps from a score on the real line to a probability of being right."""

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
    """A map ``score -> P(right)``, fitted on labels, that never decreases and lies strictly inside (0, 1).

    Scores are on the real line, like log-odds; infinite ones are replaced by large finite ones
    (``rows.Levels.of``). Learnt attributes end in ``_``. ``kind`` is the calibrator's key in ``CALIBRATORS`` and
    in a policy's JSON.
    """

    kind: ClassVar[str]
    #: Version of the saved form; a reader refuses any other.
    version: ClassVar[int] = 1

    @abstractmethod
    def fit(self, scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Fit to ``scores`` (n,) and ``correct`` (n,) in {0, 1}, with optional ``weights`` (n,) > 0; return self.

        ``weights`` are inverse propensities on any scale; they are scaled to sum to the effective number of
        labels. Raises CalibrationError on NaN, unequal lengths, no rows, or labels other than 0 and 1.
        """

    @abstractmethod
    def predict_one(self, score: float) -> float:
        """Return the probability in (0, 1) for one score; raises CalibrationError on NaN.

        Serving calls this for each answer, so implementations use no arrays.
        """

    def predict(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return probabilities (n,) in (0, 1) for ``scores`` (n,); raises CalibrationError on NaN.

        Each row is computed by ``predict_one``, because numpy's vectorised exp differs from libm's in the last
        bit: a threshold that was tuned on a tied level must find the same level when serving.
        """
        rows = as_scores(scores)
        return np.fromiter(map(self.predict_one, rows.tolist()), np.float64, rows.size)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: ``kind``, ``version`` and the learnt parameters."""

    @classmethod
    @abstractmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Read the calibrator that ``to_dict`` saved; raises CalibrationError on NaN or another version."""

    def __getattr__(self, name: str) -> Never:
        """Raise NotFittedError for a missing learnt attribute, and AttributeError for any other."""
        if name.endswith("_") and not name.startswith("_"):
            raise NotFittedError(f"this {type(self).__name__} has no {name!r} yet: call fit first")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
