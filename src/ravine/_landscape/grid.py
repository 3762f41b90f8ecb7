"""The points of a surface: two parameters, and the values along each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ravine._format import hint, kind_of, listed
from ravine._problem.problem import Problem
from ravine._study.contract import CONTRACT, COORDINATES

Range = tuple[float, float] | ArrayLike


@dataclass(frozen=True)
class Grid:
    """Two labels, horizontal first, and the values along each."""

    names: tuple[str, str]
    values: tuple[NDArray[np.float64], NDArray[np.float64]]

    @property
    def shape(self) -> tuple[int, int]:
        """Points along the vertical axis and the horizontal one."""
        across, down = self.values
        return len(down), len(across)


def grid_of(problem: Problem, axes: Mapping[str, Range], points: int) -> Grid:
    """Read two axes as a user gives them; see `ravine.surface`."""
    labels = problem.labels
    axes = axes or problem.ranges or {}
    for name in axes:
        if name not in labels:
            raise ValueError(f"no parameter {name!r}{hint(name, labels)}; the problem has {listed(labels)}")
    if len(axes) != 2:
        example = ", ".join(f'"{label}": (-5, 5)' for label in labels[:2])
        raise ValueError(
            f"a surface needs two parameters with their ranges, got {listed(axes)}; "
            f"for example ravine.surface(problem, {{{example}}}), or ravine.surface(problem, ravine.around(run)) for "
            "the part that a run went through"
        )
    check_count(points)
    for name in axes:
        if name in CONTRACT or name in COORDINATES:
            raise ValueError(
                f"an axis of a surface cannot be called {name!r}, as this parameter is: studies use that name; runs "
                "can be made, and a surface along two parameters of other names"
            )
    horizontal, vertical = axes
    return Grid(
        (horizontal, vertical),
        (axis_values(horizontal, axes[horizontal], points), axis_values(vertical, axes[vertical], points)),
    )


def read_axes(given: Any) -> Mapping[str, Range]:
    """Return axes that were given as one argument: a mapping of parameter to range, or nothing."""
    if given is None:
        return {}
    if isinstance(given, Mapping) and not isinstance(given, xr.Dataset):
        return given
    remedy = (
        "of a run they are ravine.around(run)"
        if isinstance(given, xr.Dataset)
        else 'as in {"x": (-2, 2), "y": (-1, 3)}'
    )
    raise TypeError(
        f"the axes of a surface are a mapping of two parameters to their ranges, got {kind_of(given)}; {remedy}"
    )


def check_count(points: int) -> None:
    """Refuse what is no number of grid points."""
    if isinstance(points, bool) or not isinstance(points, (int, np.integer)) or points < 2:
        raise ValueError(f"points must be a whole number of at least 2, got {points!r}")


def axis_values(name: str, given: Range, points: int) -> NDArray[np.float64]:
    """Return the grid values of an axis: those along a range, or the values as they are given."""
    try:
        values = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"axis {name!r} must be a range (low, high) or grid values, got {given!r}") from None
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"axis {name!r} must be a range (low, high) or grid values, all finite, got {given!r}")
    if isinstance(given, tuple) and len(given) == 2:
        low, high = values.tolist()
        # not torch.linspace or numpy.linspace: they differ from the article's loop at half of the points
        with np.errstate(all="ignore"):  # of what is no number any more the next lines tell
            values = low + (high - low) * np.arange(points) / (points - 1)
    if not len(values) or len(set(values.tolist())) < len(values):
        raise ValueError(f"axis {name!r} needs values that are all different, got {given!r}")
    return values
