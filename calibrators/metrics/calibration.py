"""Calibration errors: the distance of confidences from frequencies. A constant base rate has none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from calibrators.metrics.bins import BINS, Bins
from calibrators.rows import as_confidence, as_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Cells of the grid of smooth ECE, much finer than the bandwidths that occur.
CELLS = 4096


def reliability(
    confidence: ArrayLike, correct: ArrayLike, bins: int = BINS
) -> list[tuple[float, float, int]]:
    """Return the reliability diagram (DeGroot & Fienberg 1983) of ``confidence`` (n,) and ``correct`` (n,).

    For each bin of equal mass, in ascending order: ``(mean confidence, share right, rows)``; empty where n is 0.
    """
    table = Bins.of(confidence, correct, bins)
    means, shares = table.confidence / table.count, table.right / table.count
    return list(zip(means.tolist(), shares.tolist(), table.count.astype(int).tolist(), strict=True))


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float | None:
    """Return the expected calibration error in [0, 1] over bins of equal mass; ``confidence`` and ``correct`` (n,).

    Naeini, Cooper & Hauskrecht 2015; equal mass as Nguyen & O'Connor 2015. Biased upwards at small n: compare
    it with ``ece_noise_floor``. None where n is 0.
    """
    table = Bins.of(confidence, correct, bins)
    if not table.count.size:
        return None
    return float(np.abs(table.confidence - table.right).sum() / table.count.sum())


def ece_noise_floor(confidence: ArrayLike, bins: int = BINS) -> float | None:
    """Return the expected ``ece`` if ``confidence`` (n,) were perfectly calibrated; None where n is 0.

    The number of right answers in a bin is then a sum of independent trials with variance Σ p(1 − p); its mean
    absolute deviation is √(2/π) standard deviations (normal limit). Bröcker & Smith 2007 estimate it by
    resampling.
    """
    p = as_confidence(confidence)
    if not p.size:
        return None
    table = Bins.of(p, np.zeros(p.size), bins)
    return float(math.sqrt(2 / math.pi) * np.sqrt(table.variance).sum() / p.size)


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Return smECE in [0, 1]: a calibration error without bins, at the bandwidth that equals it; None where n is 0.

    Błasiok & Nakkiran 2023, "Smooth ECE: principled reliability diagrams via kernel smoothing", §3: residuals
    are smoothed with a Gaussian reflected at 0 and 1, and σ solves smECE_σ = σ. ``confidence`` (n,),
    ``correct`` (n,). Computed on 4,096 cells by cosine transform.
    """
    p = as_confidence(confidence)
    y = as_labels(correct, p.size)
    if not p.size:
        return None
    cell = np.minimum((p * CELLS).astype(np.int64), CELLS - 1)
    residual = np.bincount(cell, y - p, CELLS) / p.size
    # Reflection at both ends makes an even signal of period 2, so the Gaussian is applied in frequency space.
    spectrum = np.fft.rfft(np.concatenate([residual, residual[::-1]]))
    low, high = 0.0, 1.0
    for _ in range(40):
        width = (low + high) / 2
        low, high = (width, high) if _smoothed(spectrum, width) > width else (low, width)
    return _smoothed(spectrum, high)


def _smoothed(spectrum: NDArray[np.complex128], width: float) -> float:
    """Return ∫ |smoothed residual|, which never increases in ``width`` (Błasiok & Nakkiran 2023)."""
    frequency = math.pi * np.arange(spectrum.size)
    signal = np.fft.irfft(spectrum * np.exp(-np.square(frequency * width) / 2), 2 * CELLS)
    return float(np.abs(signal[:CELLS]).sum())
