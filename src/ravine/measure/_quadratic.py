"""Whether what is minimised is a quadratic: at the places of a run, or at places that somebody chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

LOSS_ROUNDING, STEP_ROUNDING = 64.0, 1000.0
"""Roundings (eps of the run's dtype times the size of the terms) by which a loss, and a step, may be off."""

SUBNORMAL = float(np.finfo(np.float32).tiny)
"""Below this, float32 rounds by a fixed amount, or to 0."""

TELLING = 100.0
"""A gap that is this many times its rounding shows a shape."""


SLOWLY = "more slowly than a square"
"""How a loss rises along a direction without curvature that is not level, as the scope of its minimum says it."""

FLAT = 1e-10
"""Share of the largest curvature below which one is none, in a Hessian of float64."""

CLOSED = 1e-13
"""The same where a Hessian is a sum of products of the data: years beside ones are as flat as 10⁻¹¹, and bent."""

EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
"""Rounding of each dtype that trains; numpy does not know all of them."""


def flatness(engine: Any, size: int) -> float:
    """Return the share of the largest curvature below which one is rounding, by how a Hessian was computed.

    Examples
    --------
    >>> flatness("closed form", 2), flatness("trust region by scipy's trust-exact, then Newton steps; float32", 2)
    (1e-13, 3.814697265625e-06)
    """
    if engine == "closed form":
        return CLOSED
    coarse = [eps for dtype, eps in EPS.items() if dtype != "float64" and f"; {dtype}" in str(engine)]
    return max([FLAT, *(16 * size * eps for eps in coarse)])


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The quadratic: minimum + ½ (θ-θ*)ᵀ H (θ-θ*), and the rounding of one who walks in it."""

    hessian: Vector
    minimizer: Vector
    minimum: float
    eps: float

    def gap(self, positions: Vector) -> Vector:
        """Return how far this quadratic lies above its minimum at positions (…, parameter)."""
        error = positions - self.minimizer
        return np.asarray(np.einsum("...i,ij,...j->...", error, self.hessian, error) / 2)

    def is_within(self, share: float, positions: Vector, minimised: Vector) -> bool:
        """Tell whether what is minimised is this quadratic at all positions, within a share of its own size."""
        return bool((abs(minimised - self.minimum - self.gap(positions)) <= share * abs(minimised)).all())

    def holds(self, positions: Vector, minimised: Vector) -> bool:
        """Tell whether what is minimised (step,) is this quadratic at all positions (step, parameter)."""
        gap = self.gap(positions)
        steep = abs(self.hessian).sum(0).max() / 2
        squares = (positions**2).sum(1) + self.minimizer @ self.minimizer
        noise = LOSS_ROUNDING * self.eps * (abs(minimised) + gap + abs(self.minimum) + steep * squares) + SUBNORMAL
        seen = np.isfinite(minimised) & np.isfinite(noise)
        off = abs(minimised - self.minimum - gap)
        return bool((off <= noise)[seen].all() and (gap > TELLING * noise)[seen].any())

    def is_walked(self, positions: Vector, lr: float, rule: Mapping[str, Any]) -> bool:
        """Tell whether each step is the one that torch.optim.SGD takes after the one before."""
        momentum, kept = rule["momentum"], 1 - rule["dampening"]
        ahead = momentum * bool(rule["nesterov"])
        slope = (positions - self.minimizer)[:-1] @ self.hessian * lr
        moved = -np.diff(positions, axis=0)
        velocity = slope.copy()  # lr · momentum_buffer
        if momentum:
            before = (moved - slope)[:-1] / momentum if ahead else moved[:-1]
            velocity[1:] = momentum * before + kept * slope[1:]
        expected = slope + momentum * velocity if ahead else velocity
        sizes = abs(positions).max(1) + abs(self.minimizer).max()
        # the step before it, too, was rounded at its own place and slope
        reach = np.maximum(sizes[1:], sizes[:-1]) + abs(slope).max(1) * (1 + momentum)
        reach[1:] = np.maximum(reach[1:], reach[:-1])
        limit = STEP_ROUNDING * self.eps * reach + SUBNORMAL  # where rounding is no longer relative
        whole = np.isfinite(expected).all(1) & np.isfinite(moved).all(1) & np.isfinite(limit)
        return bool((abs(expected - moved).max(1, initial=0.0) <= limit)[whole].all())


def ulps(values: Vector, eps: float) -> Vector:
    """Return the distance from each number to the next in a dtype with this rounding.

    Examples
    --------
    >>> ulps(np.array([1.0, 3.0]), 2.0**-7).tolist()
    [0.0078125, 0.015625]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(eps * 2.0 ** np.floor(np.log2(np.abs(values))))
