"""The table of calibrators by name, which commands and policies use."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from calibrators.beta import BetaCalibrator
from calibrators.errors import CalibrationError
from calibrators.histogram import HistogramCalibrator
from calibrators.isotonic import IsotonicCalibrator
from calibrators.platt import PlattCalibrator
from calibrators.saved import field
from calibrators.temperature import TemperatureCalibrator
from calibrators.venn_abers import VennAbersCalibrator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from calibrators.base import Calibrator

CALIBRATORS: Mapping[str, type[Calibrator]] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (
            TemperatureCalibrator,
            PlattCalibrator,
            BetaCalibrator,
            HistogramCalibrator,
            IsotonicCalibrator,
            VennAbersCalibrator,
        )
    }
)


def named(kind: str) -> type[Calibrator]:
    """Return the class of a calibrator; raises CalibrationError, listing the known kinds."""
    if not isinstance(kind, str) or kind not in CALIBRATORS:
        raise CalibrationError(f"calibrator {kind!r} is unknown; known are {', '.join(CALIBRATORS)}")
    return CALIBRATORS[kind]


def from_dict(saved: Mapping[str, Any]) -> Calibrator:
    """Read any saved calibrator; raises CalibrationError on missing, unknown or NaN values."""
    return named(field(saved, "kind")).from_dict(saved)
