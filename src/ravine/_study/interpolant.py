"""A surface that is a polynomial through few losses: what it is, and reading it off anywhere in its box."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ravine._format import number

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Interpolant:
    """A polynomial in two coordinates, in Chebyshev's basis over a box.

    Attributes
    ----------
    axes, box
        The two axes, the horizontal one first, and from where to where the polynomial reaches along each.
    coefficients
        Of the basis' products, the vertical axis first: one more along each axis than the degree there.
    logarithmic
        Whether the polynomial is one of the logarithm of the loss.
    squares
        Scalar products of the plane's origin and directions: what the sum of the squares of all parameters is made of.
    error, checked
        How far the polynomial is off at most, at how many points that it was not made from.
    scale
        What the error is held against: the range of the loss, at most ten times that of its lower half.
    evaluated
        How often the loss was evaluated, in all.
    """

    axes: tuple[str, str]
    box: tuple[tuple[float, float], tuple[float, float]]
    coefficients: Array
    logarithmic: bool
    squares: Array
    error: float
    checked: int
    scale: float
    evaluated: int

    @property
    def nodes(self) -> tuple[int, int]:
        """Losses that the polynomial goes through, along the horizontal axis and the vertical one."""
        up, across = self.coefficients.shape
        return across, up

    def at(self, across: Array, up: Array) -> Array:
        """Return the loss over a grid, the vertical axis first."""
        x, y = (to_unit(each, sides) for each, sides in zip((across, up), self.box, strict=True))
        found: Array = np.asarray(chebyshev.chebgrid2d(y, x, self.coefficients), dtype=np.float64)
        return np.exp(found) if self.logarithmic else found

    def squares_at(self, across: Array, up: Array) -> Array:
        """Return the sum of the squares of all parameters over a grid."""
        return squares_of(self.squares, across, up)

    def words(self) -> str:
        """Say it.

        Examples
        --------
        >>> one = Interpolant(("x", "y"), ((0.0, 1.0),) * 2, np.ones((8, 17)), False, np.eye(3), 2.1e-5, 25, 1.0, 161)
        >>> one.words()
        'interpolated from 17 × 8 losses, at most 2.1 × 10⁻⁵ off at 25 other points'
        """
        across, up = self.nodes
        off = number(self.error, 2)
        return f"interpolated from {across} × {up} losses, at most {off} off at {self.checked:,} other points"

    def to_json(self) -> str:
        """Return all of it as JSON, with the number of nodes and the degree."""
        (across, up), held = self.nodes, asdict(self)
        held |= {name: held[name].tolist() for name in ("coefficients", "squares")}
        return json.dumps({"nodes": [across, up], "degree": [across - 1, up - 1], **held})

    @classmethod
    def from_json(cls, text: str) -> Interpolant:
        """Read it again."""
        held: dict[str, Any] = json.loads(text)
        del held["nodes"], held["degree"]
        held |= {name: np.array(held[name]) for name in ("coefficients", "squares")}
        first, second = (tuple(each) for each in held.pop("box"))
        return cls(tuple(held.pop("axes")), (first, second), **held)


def interpolant_of(study: xr.Dataset) -> Interpolant | None:
    """Return the polynomial that a study's surface was read off; None where each of its points was evaluated.

    Raises
    ------
    ValueError
        If what is said there cannot be read.
    """
    said = study.variables["surface"].attrs.get("interpolant") if "surface" in study.variables else None
    if said is None:
        return None
    try:
        return Interpolant.from_json(said)
    except (TypeError, ValueError, KeyError):
        raise ValueError(
            "the attribute 'interpolant' of 'surface' cannot be read: it is JSON as "
            'ravine.surface(problem, plane=plane, accuracy="fast") writes it'
        ) from None


def to_unit(values: Array, sides: tuple[float, float]) -> Array:
    """Bring coordinates from between two sides to between -1 and 1."""
    low, high = sides
    return (2 * values - (low + high)) / (high - low)


def from_unit(values: Array, sides: tuple[float, float]) -> Array:
    """Bring coordinates from between -1 and 1 to between two sides."""
    low, high = sides
    return (low + high) / 2 + (high - low) / 2 * values


def squares_of(products: Array, across: Array, up: Array) -> Array:
    """Return the squared length of origin + x · first + y · second over a grid, from their scalar products."""
    x, y = np.meshgrid(across, up)
    point = np.stack([np.ones_like(x), x, y])
    found: Array = np.einsum("iyx,ij,jyx->yx", point, products, point)
    return found
