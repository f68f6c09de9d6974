"""Logistic regression with lower bounds on its coefficients, by a projected Newton method: numpy, nothing random.

Products are made of small blocks of rows, each below the size from which a BLAS starts threads. Its threads would make
sums depend on the machine, and two such products at a time on a busy one take fifty times as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_STEPS = 200
_FLAT = 1e-10
"""Slope of the mean loss below which a coefficient stays where it is."""
_DONE = 1e-14
"""Twice the gain in mean loss that the next step promises, below which it is the last."""
_BLOCK = 200_000
"""Multiplications of one block: OpenBLAS starts threads from 262,144 on."""


@dataclass(frozen=True)
class Logistic:
    """The loss  sum w (ln(1 + e^m) - t m) + sum ridge / 2 theta^2  with m = design theta, divided by the sum of w.

    In b blocks of r rows: design [b, r, k], target [b, r] in [0, 1], weight [b, r]. ridge: [k].
    """

    design: Array
    target: Array
    weight: Array
    ridge: Array

    @classmethod
    def of(cls, design: Array, target: Array, weight: Array, ridge: Array) -> Logistic:
        """From design [n, k], target [n] and weight [n]; the last block is filled with rows of weight 0."""
        n, k = design.shape
        size = max(1, min(n, _BLOCK // (k * k)))
        blocks = -(-n // size)
        filled = [np.zeros((blocks * size, *each.shape[1:])) for each in (design, target, weight)]
        for new, old in zip(filled, (design, target, weight), strict=True):
            new[:n] = old
        return cls(
            filled[0].reshape(blocks, size, k),
            filled[1].reshape(blocks, size),
            filled[2].reshape(blocks, size),
            ridge,
        )

    def loss(self, theta: Array) -> float:
        """The loss at theta [k]."""
        margin = self.design @ theta
        data = np.sum(self.weight * (np.logaddexp(0, margin) - self.target * margin))
        return float(data + np.sum(self.ridge * theta**2) / 2) / float(self.weight.sum())

    def slopes(self, theta: Array) -> tuple[Array, Array]:
        """Gradient [k] and Hessian [k, k] at theta."""
        p = 1 / (1 + np.exp(-np.clip(self.design @ theta, -500, 500)))
        residual, curvature = self.weight * (p - self.target), self.weight * p * (1 - p)
        gradient = (residual[:, None, :] @ self.design).sum(axis=(0, 1)) + self.ridge * theta
        products = (self.design * curvature[:, :, None]).transpose(0, 2, 1) @ self.design
        total = self.weight.sum()
        return gradient / total, (products.sum(axis=0) + np.diag(self.ridge)) / total


def logistic(
    design: Array, target: Array, *, start: Array, lower: Array, ridge: Array, weight: Array | None = None
) -> Array:
    """Coefficients [k] of least loss with theta >= lower (-inf: no bound).

    design: [n, k]. target: [n] in [0, 1]. weight: [n], or None for ones. ridge: [k], at least 0. The loss is convex, so
    what is found is the least there is. Coefficients that stand on their bound and would pass it are held there; the
    others take a Newton step, projected on the bounds and halved until it helps (Bertsekas 1982).
    """
    problem = Logistic.of(design, target, np.ones(len(target)) if weight is None else weight, ridge)
    theta = np.maximum(start, lower)
    for _ in range(_STEPS):
        gradient, hessian = problem.slopes(theta)
        free = ~((theta <= lower) & (gradient > 0))
        if np.abs(gradient[free]).max(initial=0.0) < _FLAT:
            break
        step = _newton(gradient, hessian, free)
        if 0 <= np.sum(gradient * step) < _DONE:  # nothing that the loss could show is left to gain
            return np.maximum(theta - step, lower)
        moved = _moved(problem, theta, lower, gradient, step)
        if moved is None:  # on the edge of the bounds a Newton step may not descend; a scaled gradient step does
            moved = _moved(problem, theta, lower, gradient, np.where(free, gradient / (np.diag(hessian) + 1e-12), 0.0))
        if moved is None:
            break
        theta = moved
    return theta


def _newton(gradient: Array, hessian: Array, free: NDArray[np.bool_]) -> Array:
    step = np.zeros_like(gradient)
    part = hessian[np.ix_(free, free)] + 1e-12 * np.eye(int(free.sum()))
    step[free] = np.linalg.solve(part, gradient[free])
    return step


def _moved(problem: Logistic, theta: Array, lower: Array, gradient: Array, step: Array) -> Array | None:
    """Theta after the largest share of the step that descends enough (Armijo's rule); None if none does."""
    before, share = problem.loss(theta), 1.0
    while share > 1e-9:
        moved = np.maximum(theta - share * step, lower)
        descent = float(np.sum(gradient * (theta - moved)))
        if descent > 0 and problem.loss(moved) <= before - 1e-4 * descent:
            return moved
        share /= 2
    return None
