"""refine: read an interpolated surface off a finer grid, or closer by, without the model."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from ravine._format import listed, span
from ravine._landscape.grid import Grid, Range, axis_values, check_count, read_axes
from ravine._study.contract import check
from ravine._study.interpolant import Interpolant, interpolant_of


def refine(
    land: xr.Dataset, axes: Mapping[str, Range] | None = None, *, points: int = 401, **named_axes: Range
) -> xr.Dataset:
    """Read a surface that was made with ``accuracy="fast"`` off another grid, finer or closer by, without the model.

    Parameters
    ----------
    land
        What ``ravine.surface(problem, plane=plane, accuracy="fast")`` gave, from a file too.
    axes, **named_axes
        Ranges or values along the surface's two axes, as in `ravine.surface`. Left out, the whole of it.
    points
        Grid points along each range.

    Returns
    -------
    xarray.Dataset
        ``surface`` and ``squares`` over the other grid. The polynomial is as far off as `land` says, at points that
        it was not made from.

    Raises
    ------
    ValueError
        If each point of the surface was evaluated (between them nothing is known), or a range leads out of it.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.himmelblau()
    >>> plane = ravine.Plane.through({"x": 0.0, "y": 0.0}, {"x": 4.0, "y": 0.0}, {"x": 0.0, "y": 4.0})
    >>> land = ravine.surface(problem, plane=plane, accuracy="fast")
    >>> near = ravine.refine(land, {"a to b": (2.9, 3.1), "off a to b": (1.9, 2.1)}, points=101)
    >>> round(float(near.surface.sel({"a to b": 3, "off a to b": 2}, method="nearest")), 3)  # a minimum of 0 is there
    0.0
    """
    check(land, "surface")
    found = interpolant_of(land)
    if found is None:
        raise ValueError(
            "each point of this surface was evaluated, and between them nothing is known: "
            'ravine.surface(problem, plane=plane, accuracy="fast") makes one that can be refined'
        )
    given = {**read_axes(axes), **named_axes}
    if unknown := [name for name in given if name not in found.axes]:
        raise ValueError(f"the surface has no axis {unknown[0]!r}; it has {listed(found.axes)}")
    check_count(points)
    values = []
    for name, (low, high) in zip(found.axes, found.box, strict=True):
        values.append(axis_values(name, given.get(name, (low, high)), points))
        if values[-1].min() < low or values[-1].max() > high:
            raise ValueError(f"the surface reaches {span([low, high])} along {name!r}, got {span(values[-1])}")
    return read_off(found, Grid(found.axes, (values[0], values[1])), land)


def read_off(found: Interpolant, grid: Grid, like: xr.Dataset) -> xr.Dataset:
    """Return surface and squares over a grid, with what is said of them elsewhere."""
    across, up = grid.values
    values = {"surface": found.at(across, up), "squares": found.squares_at(across, up)}
    data = {
        name: ((grid.names[1], grid.names[0]), each, like[name].attrs) for name, each in values.items() if name in like
    }
    coords = {"criterion": like["criterion"].item()} if "criterion" in like.coords else {}
    return xr.Dataset(data, {**dict(zip(grid.names, grid.values, strict=True)), **coords})
