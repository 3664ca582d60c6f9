"""Calibration errors: how far confidences are from frequencies. A constant base rate has none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from calibrators.metrics.bins import BINS, Bins
from calibrators.rows import as_confidence, as_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Cells of smooth ECE's grid; far finer than any bandwidth that finitely many labels lead to.
CELLS = 4096


def reliability(
    confidence: ArrayLike, correct: ArrayLike, bins: int = BINS
) -> list[tuple[float, float, int]]:
    """The reliability diagram (DeGroot & Fienberg 1983): for each bin of equal mass ``(mean confidence, share
    right, rows)``, rising; empty where n is 0. ``confidence`` (n,), ``correct`` (n,).
    """
    table = Bins.of(confidence, correct, bins)
    means, shares = table.confidence / table.count, table.right / table.count
    return list(zip(means.tolist(), shares.tolist(), table.count.astype(int).tolist(), strict=True))


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float | None:
    """Expected calibration error in [0, 1] over bins of equal mass; ``confidence`` (n,), ``correct`` (n,).

    Naeini, Cooper & Hauskrecht 2015; equal mass as Nguyen & O'Connor 2015. Biased upwards at small n: compare
    it with ``ece_noise_floor``. None where n is 0.
    """
    table = Bins.of(confidence, correct, bins)
    if not table.count.size:
        return None
    return float(np.abs(table.confidence - table.right).sum() / table.count.sum())


def ece_noise_floor(confidence: ArrayLike, bins: int = BINS) -> float | None:
    """What ``ece`` would be on average if ``confidence`` (n,) were perfectly calibrated; None where n is 0.

    A bin's number of right answers is then a sum of independent trials with variance Σ p(1 − p); its mean
    absolute deviation is √(2/π) standard deviations (normal limit). Bröcker & Smith 2007 draw it by
    resampling.
    """
    p = as_confidence(confidence)
    if not p.size:
        return None
    table = Bins.of(p, np.zeros(p.size), bins)
    return float(math.sqrt(2 / math.pi) * np.sqrt(table.variance).sum() / p.size)


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """smECE in [0, 1]: calibration error under the bandwidth that equals it, so free of bins; None where n is
    0.

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
    # Reflection at both ends is an even signal of period 2, on which the Gaussian acts in frequency.
    spectrum = np.fft.rfft(np.concatenate([residual, residual[::-1]]))
    low, high = 0.0, 1.0
    for _ in range(40):
        width = (low + high) / 2
        low, high = (width, high) if _smoothed(spectrum, width) > width else (low, width)
    return _smoothed(spectrum, high)


def _smoothed(spectrum: NDArray[np.complex128], width: float) -> float:
    """∫ |smoothed residual|, never increasing in ``width`` (their Lemma on monotonicity)."""
    frequency = math.pi * np.arange(spectrum.size)
    signal = np.fft.irfft(spectrum * np.exp(-np.square(frequency * width) / 2), 2 * CELLS)
    return float(np.abs(signal[:CELLS]).sum())
