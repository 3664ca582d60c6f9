"""Validation of saved calibrators."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from calibrators.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_header(saved: Mapping[str, Any], kind: str, version: int) -> None:
    """Raise CalibrationError unless ``saved`` is a mapping of this ``kind`` and ``version``."""
    for key, wanted in (("kind", kind), ("version", version)):
        found = field(saved, key)
        if type(found) is not type(wanted) or found != wanted:
            raise CalibrationError(
                f"saved calibrator: {key} is {found!r}, but only {wanted!r} is supported; fit again"
            )


def field(saved: Mapping[str, Any], key: str) -> Any:
    """Return the value at ``key``; raises CalibrationError where it is missing."""
    try:
        return saved[key]
    except (KeyError, TypeError, IndexError) as exc:
        raise CalibrationError(f"saved calibrator: key {key!r} is missing") from exc


def _finite(value: Any, name: str) -> float:
    """Return ``value`` as a finite float; raises CalibrationError on bool, NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CalibrationError(f"saved calibrator: {name} is {value!r}, not a number")
    try:
        number = float(value)
    except OverflowError as exc:
        raise CalibrationError(f"saved calibrator: {name} is too large for a double") from exc
    if not math.isfinite(number):
        raise CalibrationError(f"saved calibrator: {name} is {number}, not finite")
    return number


def number(saved: Mapping[str, Any], key: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Return the finite number at ``key``, which must lie in [``low``, ``high``]."""
    value = _finite(field(saved, key), key)
    if not low <= value <= high:
        raise CalibrationError(f"saved calibrator: {key} is {value:g}, outside [{low:g}, {high:g}]")
    return value


def _numbers(saved: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """Return the list of finite numbers at ``key``."""
    values = field(saved, key)
    if not isinstance(values, list | tuple):
        raise CalibrationError(f"saved calibrator: {key} is {type(values).__name__}, not a list")
    return tuple(_finite(value, f"{key}[{index}]") for index, value in enumerate(values))


def increasing(saved: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """Return the strictly increasing list of finite numbers at ``key``."""
    values = _numbers(saved, key)
    if any(left >= right for left, right in pairwise(values)):
        raise CalibrationError(f"saved calibrator: {key} does not increase")
    return values


def probabilities(saved: Mapping[str, Any], key: str, length: int) -> tuple[float, ...]:
    """Return the non-decreasing list of ``length`` probabilities in [0, 1] at ``key``."""
    values = _numbers(saved, key)
    if len(values) != length:
        raise CalibrationError(f"saved calibrator: {key} holds {len(values)} values, {length} are needed")
    if any(left > right for left, right in pairwise(values)) or not all(0 <= value <= 1 for value in values):
        raise CalibrationError(f"saved calibrator: {key} must be non-decreasing within [0, 1]")
    return values


def inner_probabilities(saved: Mapping[str, Any], key: str, length: int) -> tuple[float, ...]:
    """Return the list at ``key`` as ``probabilities`` does; none may be exactly 0 or 1."""
    values = probabilities(saved, key, length)
    if not all(0 < value < 1 for value in values):
        raise CalibrationError(f"saved calibrator: {key} holds a 0 or a 1, which no labels can show")
    return values
