"""Calibrators turn scores into probabilities of being right; the package also selects and evaluates them.

It needs numpy alone. It performs no input or output, reads no clock, and takes every random generator as an
argument.
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
