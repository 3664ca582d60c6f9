"""The errors of the calibrators package.

CalibrationError (ValueError)      labels, scores, figures or saved parameters that cannot be used
└── NotFittedError (AttributeError)    asked before ``fit``
"""

from __future__ import annotations


class CalibrationError(ValueError):
    """The labels or the saved parameters cannot make a calibrator; the message says which and why."""


class NotFittedError(CalibrationError, AttributeError):
    """The calibrator has not been fitted (the base classes are those of scikit-learn's NotFittedError)."""
