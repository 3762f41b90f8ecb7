"""The modes of a quadratic, with what a run's start has along each; and whether a run's loss is a quadratic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine._format import number

Vector = NDArray[np.float64]

LOSS_ROUNDING, STEP_ROUNDING = 64.0, 1000.0
"""Roundings (eps of the run's dtype times the size of the terms) by which a loss, and a step, may be off."""

SUBNORMAL = float(np.finfo(np.float32).tiny)
"""Below this, float32 rounds by a fixed amount, or to 0."""

TELLING = 100.0
"""A gap that is this many times its rounding shows a shape."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The quadratic: minimum + ½ (θ-θ*)ᵀ H (θ-θ*), and the rounding of one who walks in it."""

    hessian: Vector
    minimizer: Vector
    minimum: float
    eps: float

    def holds(self, positions: Vector, minimised: Vector) -> bool:
        """Tell whether what is minimised (step,) is this quadratic at all positions (step, parameter)."""
        error = positions - self.minimizer
        gap = np.einsum("ki,ij,kj->k", error, self.hessian, error) / 2
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


FLAT = 1e-10
"""Curvatures below this share of the largest are none."""

ASLEEP = 1e-6
"""A mode with less than this share of the start's error is not seen."""

CARRIES = 0.01
"""A mode with this share of the gap at the start is part of the picture."""

ALIKE = 1e-6
"""Curvatures that differ by less than this, relatively, are one: none of their directions is its own."""

MOSTLY = 0.75
"""Share of a direction's squared length from which one parameter names it."""


@dataclass(frozen=True, eq=False)
class Modes:
    """Curvatures of what is minimised, the lowest first; the flat ones are left out.

    `start` is the error at step 0 along each, measured from the minimizer.
    """

    curvatures: Vector
    directions: Vector
    start: Vector
    labels: Sequence[str]

    @property
    def condition(self) -> float:
        """Largest curvature over the smallest."""
        return float(self.curvatures[-1] / self.curvatures[0])

    @property
    def awake(self) -> NDArray[np.bool_]:
        """Which modes the start has an error along."""
        return np.asarray(abs(self.start) > ASLEEP * abs(self.start).max(initial=0.0))

    @property
    def carrying(self) -> NDArray[np.bool_]:
        """Which modes carry the gap at the start."""
        gaps = self.curvatures * self.start**2
        return np.asarray((gaps > CARRIES * gaps.sum()) & self.awake)

    @property
    def round(self) -> bool:
        """Whether all directions have the same curvature, so that none is steep."""
        return bool(self.curvatures[-1] <= self.curvatures[0] * (1 + ALIKE))

    def name(self, mode: int) -> str:
        """Name a direction by its parameter: "bias", "mostly weight", or nothing where several mix."""
        shares = self.directions[:, mode] ** 2
        most = int(shares.argmax())
        if shares[most] < MOSTLY:
            return ""
        return self.labels[most] if shares[most] > 0.999 else f"mostly {self.labels[most]}"

    def along(self, mode: int) -> str:
        """Write "the steep direction (mostly bias)"; nothing where no direction differs from the others."""
        if self.round:
            return ""
        alike = abs(self.curvatures / self.curvatures[mode] - 1) <= ALIKE
        name = self.name(mode) if alike.sum() == 1 else ""
        few = len(self.curvatures) == 2
        if alike[-1]:
            return f"the {'steep' if few else 'steepest'} direction" + f" ({name})" * bool(name)
        if alike[0]:
            return f"the {'flat' if few else 'flattest'} direction" + f" ({name})" * bool(name)
        return f"the direction of curvature {number(float(self.curvatures[mode]))}" + f" ({name})" * bool(name)


def modes_of(hessian: Vector, error: Vector, labels: Sequence[str]) -> Modes | None:
    """Take a Hessian apart; None where it is not that of a minimum, or has no curvature."""
    curvatures, directions = np.linalg.eigh((hessian + hessian.T) / 2)
    largest = float(abs(curvatures).max())
    bent = abs(curvatures) > FLAT * largest
    if not largest > 0 or (curvatures[bent] < 0).any():
        return None
    directions = directions[:, bent]
    return Modes(curvatures[bent], directions, directions.T @ error, labels)
