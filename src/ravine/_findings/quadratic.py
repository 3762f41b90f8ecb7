"""The modes of a quadratic, with what a run's start has along each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ravine._format import number

Vector = NDArray[np.float64]

NOISY = 8.0
"""Roundings of the start within which an error along a mode is none."""

CARRIES = 0.01
"""A mode with this share of the gap at the start is part of the picture."""

ALIKE = 1e-6
"""Curvatures that differ by less than this, relatively, are one: none of their directions is its own."""

MOSTLY = 0.75
"""Share of a direction's squared length from which one parameter names it."""


@dataclass(frozen=True, eq=False)
class Modes:
    """Curvatures of what is minimised, the lowest first; the flat ones are left out.

    `start` is the error at step 0 along each, measured from the minimizer; within `noise` it is rounding.
    """

    curvatures: Vector
    directions: Vector
    start: Vector
    labels: Sequence[str]
    noise: float

    @property
    def condition(self) -> float:
        """Largest curvature over the smallest."""
        return float(self.curvatures[-1] / self.curvatures[0])

    @property
    def awake(self) -> NDArray[np.bool_]:
        """Which modes the start has an error along."""
        return np.asarray(abs(self.start) > self.noise)

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


def modes_of(
    hessian: Vector, start: Vector, minimizer: Vector, labels: Sequence[str], *, flat: float, eps: float
) -> Modes | None:
    """Take a Hessian apart; None where it is not that of a minimum, or has no curvature.

    Curvatures below the share `flat` of the largest are the Hessian's own rounding; `eps` is that of the run.
    """
    curvatures, directions = np.linalg.eigh((hessian + hessian.T) / 2)
    largest = float(abs(curvatures).max())
    bent = abs(curvatures) > flat * largest
    if not largest > 0 or (curvatures[bent] < 0).any():
        return None
    directions = directions[:, bent]
    noise = NOISY * eps * float(np.linalg.norm(start) + np.linalg.norm(minimizer))
    return Modes(curvatures[bent], directions, directions.T @ (start - minimizer), labels, noise)
