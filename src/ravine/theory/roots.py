"""Roots: the polynomial that a mode of torch's SGD obeys, and what its two roots say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["REGIMES", "ROUNDING", "Floats", "Mode"]

Floats = NDArray[np.floating[Any]]

REGIMES: Mapping[str, str] = {
    "overdamped": "shrinks without swinging",
    "critical": "on the border of swinging: a double root",
    "underdamped": "swings while it shrinks, over more than two steps",
    "alternating": "shrinks and flips its sign every step",
    "marginal": "neither shrinks nor grows",
    "diverging": "grows",
    "undefined": "NaN in the curvature or the settings",
}
"""What `regime` can answer, and what the error of such a mode does in the long run."""

ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""Two sides of a border this near to each other, relatively, are the border itself."""


class Mode:
    """One mode, or an array of them: a, t and d as in `ravine.theory`, and T and D of z² - Tz + D."""

    def __init__(self, *settings: Floats) -> None:
        curvature, lr, momentum, dampening, weight_decay, nesterov = settings
        moving = momentum != 0
        kept, ahead = np.where(moving, 1 - dampening, 1.0), np.where(moving, nesterov, 0.0)
        unknown = 0 * ahead  # NaN where it is not known whether it is Nesterov
        self.momentum = momentum
        self.a: Floats = lr * (curvature + weight_decay)
        self.t: Floats = np.where(ahead != 0, 1 + momentum * kept, kept) + unknown
        self.d: Floats = np.where(ahead != 0, momentum, 0.0) + unknown
        self.trace: Floats = 1 + momentum - self.a * self.t
        # an infinite a does not reach a determinant that it is no part of
        self.determinant: Floats = np.where(self.d == 0, momentum, momentum - self.a * self.d)

    @property
    def discriminant(self) -> Floats:
        """T² - 4D, and exactly zero where that is zero within rounding."""
        exact = self.trace**2 - 4 * self.determinant
        trace, determinant = 1 + self.momentum + abs(self.a * self.t), self.momentum + abs(self.a * self.d)
        noise = 2 * ROUNDING * (abs(self.trace) * trace + 4 * determinant)  # of the terms before they cancel
        return np.where(np.isfinite(noise) & (abs(exact) <= noise), 0.0, exact)

    @property
    def rate(self) -> Floats:
        """The larger modulus of the two roots."""
        inside = self.discriminant
        spread = np.sqrt(np.maximum(inside, 0))
        # the root's distance from 1, from the product of the two distances: a flat mode has a rate of exactly 1
        short = 2 * self.a * (self.t - self.d) / (2 - self.trace + spread)
        real = np.where((self.trace > 0) & (self.trace < 2), 1 - short, (abs(self.trace) + spread) / 2)
        return np.where(inside <= 0, np.sqrt(abs(self.determinant)), real)

    @property
    def regime(self) -> NDArray[np.str_]:
        """What the error does: a key of `REGIMES`."""
        # both roots lie within the unit circle iff 1 - T + D > 0, 1 + T + D > 0 and D < 1 (Jury)
        pull, reach = self.a * (self.t - self.d), self.a * (self.t + self.d) / (2 * (1 + self.momentum))
        beyond = (pull < 0) | (reach > 1 + ROUNDING) | (self.determinant > 1 + ROUNDING)
        edge = (pull == 0) | (reach >= 1 - ROUNDING) | (self.determinant >= 1 - ROUNDING)
        inside = self.discriminant
        return np.select(
            [np.isnan(self.rate), beyond, edge, inside == 0, inside < 0, self.trace < 0],
            ["undefined", "diverging", "marginal", "critical", "underdamped", "alternating"],
            "overdamped",
        )
