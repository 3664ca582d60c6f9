"""Scores into probabilities of being right: calibrators, their choice, and the measures of how well they do.

numpy only; no file, network, clock, or randomness that is not passed in.
"""

from calibrators.base import Calibrator
from calibrators.errors import CalibrationError, NotFittedError
from calibrators.groups import GroupedCalibrator
from calibrators.select import Selection, auto
from calibrators.table import CALIBRATORS, from_dict

__all__ = [
    "CALIBRATORS",
    "CalibrationError",
    "Calibrator",
    "GroupedCalibrator",
    "NotFittedError",
    "Selection",
    "auto",
    "from_dict",
]
