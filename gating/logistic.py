"""L2-regularised logistic regression with non-negativity constraints on some of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gating.types import GatingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 200
#: Tolerance of the projected gradient, for each label.
_TOLERANCE = 1e-10
#: Armijo's rule: the share of the promised decrease that a step must bring.
_SUFFICIENT = 1e-4
#: Relative rounding of the summed loss: near the minimum a step improves it by less.
_ROUNDING = 1e-12


def fit_logistic(
    X: NDArray[np.float64], y: NDArray[np.float64], *, l2: float, monotone: NDArray[np.bool_]
) -> tuple[float, NDArray[np.float64]]:
    """Return the bias and weights (d,) that minimise ``sum log loss + l2/2 |weights|²``, >= 0 where ``monotone``.

    ``X`` (n, d), ``y`` (n,) in {0, 1} with both present, ``l2`` > 0, ``monotone`` (d,). The method is projected
    Newton (Bertsekas 1982, "Projected Newton methods for optimization problems with simple constraints"):
    weights at their bound that the gradient pushes against it stay there, and the others take a damped Newton
    step. The objective is strictly convex, so the minimum is unique. Raises GatingError on invalid input, and
    where the iteration does not converge.
    """
    if not l2 > 0.0:
        raise GatingError(f"combination: l2 must be > 0, not {l2}")
    if not np.isfinite(X).all():
        raise GatingError("combination: a score is not finite; leave unmeasured scores out")
    if set(np.unique(y)) != {0.0, 1.0}:
        raise GatingError("combination: labels must hold both 0 (wrong) and 1 (right); label more answers")
    design = np.hstack([np.ones((len(X), 1)), X])
    penalty = np.concatenate([[0.0], np.full(X.shape[1], l2)])
    bounded = np.concatenate([[False], monotone])
    sign = 2.0 * y - 1.0

    def loss(w: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0.0, -sign * (design @ w)).sum() + 0.5 * penalty @ w**2)

    def project(w: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(bounded, np.maximum(w, 0.0), w)

    w = np.zeros(design.shape[1])
    w[0] = np.log(y.mean() / (1.0 - y.mean()))
    for _ in range(_STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (design @ w)))  # the sigmoid, without overflow
        gradient = design.T @ (p - y) + penalty * w
        gap = float(np.abs(w - project(w - gradient)).max())
        if gap <= _TOLERANCE * len(y):
            return float(w[0]), w[1:]
        resting = bounded & (w <= min(gap, 1e-3)) & (gradient > 0.0)
        hessian = (design.T * (p * (1.0 - p))) @ design + np.diag(penalty)
        step = gradient / np.maximum(np.diag(hessian), 1.0)
        free = ~resting
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        start, length, moved = loss(w), 1.0, project(w - step)
        descent = gradient[free] @ step[free]
        while loss(moved) > start * (1.0 + _ROUNDING) - _SUFFICIENT * (
            length * descent + gradient[resting] @ (w - moved)[resting]
        ):  # ends at the latest where the step is too short to move w
            length /= 2.0
            moved = project(w - length * step)
        w = moved
    raise GatingError("combination: the fit does not converge; drop the scorers that are nearly the same")
