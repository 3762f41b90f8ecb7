"""The polynomial that a mode of torch's SGD obeys and its two roots; numbers read, checked and answered in kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ravine._format import kind_of, listed

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


def apply_kernel(
    kernel: Callable[..., Any], names: Mapping[str, str], numbers: Mapping[str, Any], last: Sequence[str] = ()
) -> list[Any]:
    """Apply a kernel of float64 arrays to numbers by name that broadcast.

    `names` holds the name of each answer and what it is in words, `last` the names of the axes that the kernel adds.
    """
    values = {name: read_number(name, value) for name, value in numbers.items()}
    values.pop("maximize", None)  # it is False, or was refused
    check_axes(values)
    with np.errstate(all="ignore"):  # inf and NaN are answers
        found = xr.apply_ufunc(kernel, *values.values(), output_core_dims=[last] * len(names), keep_attrs=False)
    answers = found if len(names) > 1 else [found]
    return [label_answer(answer, *words) for answer, words in zip(answers, names.items(), strict=True)]


def label_answer(answer: Any, name: str, long_name: str) -> Any:
    """Return an answer under its name, and a single number as what it is."""
    if isinstance(answer, xr.DataArray):
        return answer.rename(name).assign_attrs(long_name=long_name)
    return answer if answer.ndim else answer.item()


def read_number(name: str, value: Any) -> Any:
    """Return a value in float64, a DataArray as one, or say why torch's SGD or theory refuses it."""
    try:
        if value is None:
            raise TypeError
        found = value.astype(np.float64) if isinstance(value, xr.DataArray) else np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, or an array of numbers, got {kind_of(value)}") from None
    if name in ("lr", "momentum", "weight_decay") and (found < 0).any():
        raise ValueError(f"{name} must be 0 or more, as torch.optim.SGD demands, got {float(found.min())}")
    if name == "maximize" and (found > 0).any():
        raise ValueError(
            "maximize=True climbs: it has no minimum to converge to; "
            "for a maximum, give the curvature with its sign turned and maximize=False, which is the same run"
        )
    return found


def extremes_of(curvature: ArrayLike) -> dict[str, Any]:
    """Return the two ends of the curvatures along the last axis: all that many modes together depend on."""
    low = high = values = read_number("curvature", curvature)
    if values.ndim and not values.shape[-1]:
        raise ValueError("curvature holds no eigenvalue; give at least one")
    if values.ndim:
        axis = [values.dims[-1]] if isinstance(values, xr.DataArray) else []
        low, high = xr.apply_ufunc(
            lambda modes: (modes.min(-1), modes.max(-1)), values, input_core_dims=[axis], output_core_dims=[[], []]
        )
    return {"smallest curvature": low, "largest curvature": high}


def check_axes(values: Mapping[str, Any]) -> None:
    """Refuse what does not broadcast: by name where a DataArray is among the values, else by shape."""
    bare = {key: value.shape for key, value in values.items() if value.ndim and not isinstance(value, xr.DataArray)}
    if bare and any(isinstance(value, xr.DataArray) for value in values.values()):
        raise TypeError(
            f"no names for the axes of {listed(bare)}, beside an xarray.DataArray: "
            "make it a DataArray too, so that they broadcast by name"
        )
    try:
        np.broadcast_shapes(*bare.values())
    except ValueError:
        shapes = ", ".join(f"{key} {shape}" for key, shape in bare.items())
        raise ValueError(
            f"the shapes do not broadcast: {shapes}; give one of them axes of its own, for example curvature[:, None]"
        ) from None
