"""A place that a search looks at: what the loss and its weight decay do there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ravine._study.decay import Decay
from ravine.curvature._derivatives import Function
from ravine.curvature._regression import penalty

Vector = NDArray[np.float64]


class StuckError(Exception):
    """The search cannot go on."""


@dataclass(frozen=True, eq=False)
class Look:
    """A place, and what the loss does there; `tolerance` is half of the digits that the loss has."""

    place: Vector
    loss: float
    gradient: Vector
    hessian: Vector
    tolerance: float

    @property
    def finite(self) -> bool:
        """Whether all of it is."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.gradient).all() and np.isfinite(self.hessian).all())

    @property
    def scale(self) -> float:
        """Size of the place."""
        return float(np.abs(self.place).max()) or 1.0

    @property
    def bend(self) -> float:
        """Largest curvature, of either sign."""
        return float(np.abs(self.axes[0]).max())

    @cached_property
    def axes(self) -> tuple[Vector, Vector]:
        """Curvatures, the lowest first, and the directions they belong to."""
        curvatures, directions = np.linalg.eigh(self.hessian)
        return curvatures, directions

    @cached_property
    def flat(self) -> NDArray[np.bool_]:
        """Directions in which the curvature is lost in rounding."""
        sizes = np.abs(self.axes[0])
        return np.asarray(sizes <= self.tolerance * sizes.max())

    @property
    def bends_down(self) -> bool:
        """Whether a curvature that is none of rounding is negative."""
        return bool((self.axes[0][~self.flat] < 0).any())

    @cached_property
    def step(self) -> Vector:
        """The Newton step along all directions in which the loss bends."""
        curvatures, directions = self.axes
        bent = directions[:, ~self.flat]
        return np.asarray(-bent @ ((bent.T @ self.gradient) / curvatures[~self.flat]))

    @property
    def gain(self) -> float:
        """How much the Newton step promises."""
        return float(-self.gradient @ self.step) / 2


class Decayed:
    """A loss with its weight decay, wd / 2 * |p|²; scipy asks for loss, gradient and Hessian of one place in turn."""

    def __init__(self, function: Function, weight_decay: Decay) -> None:
        self.function, self.weight_decay = function, weight_decay
        self.tolerance = float(np.sqrt(function.resolution))
        self.last: Look | None = None

    def look(self, place: Vector) -> Look:
        """Return what the loss does at a place, if that is finite."""
        found = self._see(place)
        if not found.finite:
            raise StuckError(f"the loss or its derivatives are not finite at {write_place(place)}")
        return found

    def value(self, place: Vector) -> float:
        value = self._see(place).loss
        if value == -np.inf:
            raise StuckError("the loss falls without end")
        return np.inf if np.isnan(value) else value

    def gradient(self, place: Vector) -> Vector:
        return self.look(place).gradient

    def slopes(self, place: Vector) -> Vector:
        """Return the gradient, whatever it is, without a Hessian."""
        return np.asarray(self.function.gradient(place) + np.multiply(self.weight_decay, place))

    def hessian(self, place: Vector) -> Vector:
        found = self._see(place)  # asked for at each place that is tried, also where it will not go
        return found.hessian if found.finite else np.eye(len(place))

    def _see(self, place: Vector) -> Look:
        if self.last is None or not np.array_equal(self.last.place, place):
            try:
                loss, gradient, hessian = self.function.hessian(place)
            except Exception as reason:  # at the start it was called without: a place of the search is at fault
                raise StuckError(f"at {write_place(place)} the loss or its derivatives raise {reason!r}") from reason
            loss += penalty(self.weight_decay, place)
            gradient = gradient + np.multiply(self.weight_decay, place)
            hessian = hessian + np.multiply(self.weight_decay, np.eye(len(place)))
            self.last = Look(place.copy(), loss, gradient, hessian, self.tolerance)
        return self.last


def write_place(place: Vector) -> str:
    """Write a place as "(1, 2)", its first numbers where there are many."""
    return "(" + ", ".join(f"{each:.4g}" for each in place[:4]) + (", …)" if len(place) > 4 else ")")
