"""The errors of this package.

CalibrationError (ValueError)      labels, scores, figures or saved parameters that cannot be used
└── NotFittedError (AttributeError)    asked before ``fit``
"""

from __future__ import annotations


class CalibrationError(ValueError):
    """The labels or the saved parameters cannot make a calibrator; the message says which and why."""


class NotFittedError(CalibrationError, AttributeError):
    """A probability was asked of a calibrator that has seen no labels (both bases, as scikit-learn's)."""
