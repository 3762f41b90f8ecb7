"""slopes: the gradient of the loss over the grid of a surface, for direction fields."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor

import numpy as np
import torch
import xarray as xr

from ravine import study
from ravine.grid import Grid
from ravine.problem import Problem
from ravine.spots import Found, everywhere, gridded, loss_at
from ravine.threads import one_thread
from ravine.words import listed
from ravine.workers import check_executor

__all__ = ["slopes"]


def slopes(
    problem: Problem | Mapping[str, Problem], land: xr.Dataset, *, executor: Executor | None = None
) -> xr.DataArray:
    """Evaluate the gradient of the loss at every point of a surface's grid.

    Parameters
    ----------
    problem
        A problem, or a mapping of them as in `ravine.descend`.
    land
        A surface of it: its two axes and the values along them are taken, nothing else.
    executor
        As in `ravine.surface`.

    Returns
    -------
    xarray.DataArray
        ``slope`` (…, vertical, horizontal, parameter) in the problem's dtype: the derivatives by the two
        parameters on the axes, in the order of the problem's labels; the others are held at the start. A
        gradient that is not finite stays as it is.

    Raises
    ------
    ValueError
        If an axis of the surface is no parameter of the problem.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic(condition=2)
    >>> slope = slopes(bowl, ravine.surface(bowl, x=(-1, 1), y=(0, 2), points=3))
    >>> slope.dims, slope.sel(x=1, y=2).values.tolist()
    (('y', 'x', 'parameter'), [1.0, 4.0])

    Notes
    -----
    By `torch.func.vmap` of `torch.func.grad`, and one by one where that cannot be batched. Some points are
    always evaluated singly by autograd too; the provenance says whether the bits were equal.
    """
    check_executor(executor)
    problems = [problem] if isinstance(problem, Problem) else list(problem.values())
    known, names = problems[0].labels, study.axes(land)
    for name in names:
        if name not in known:
            raise ValueError(f"the surface's axis {name!r} is no parameter of the problem, which has {listed(known)}")
    horizontal, vertical = (land[name].values.astype(np.float64) for name in names)
    grid = Grid(names, (horizontal, vertical))
    # the order of the axes is the picture's, that of the parameters the problem's
    order = sorted((0, 1), key=lambda k: known.index(names[k]))
    with one_thread(), torch.random.fork_rng(), torch.enable_grad():
        found = [_field(each, grid, executor) for each in problems]
    found = [each._replace(values=each.values[..., order]) for each in found]
    return gridded("slope", problem, grid, found)["slope"].assign_coords(parameter=np.array(names)[order])


def _field(problem: Problem, grid: Grid, executor: Executor | None) -> Found:
    """Derivatives by the horizontal and the vertical parameter."""
    loss = loss_at(problem, grid.names)

    def one(*coordinates: torch.Tensor) -> torch.Tensor:
        point = [each.clone().requires_grad_() for each in coordinates]
        value = loss(*point)
        if not value.requires_grad:
            return torch.zeros(2, dtype=point[0].dtype)
        return torch.stack(torch.autograd.grad(value, point, allow_unused=True, materialize_grads=True))

    gradient = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))
    ways = ("torch.func.vmap of torch.func.grad", "one gradient after another")
    return everywhere(problem, grid, one, lambda h, v: torch.stack(gradient(h, v), -1), ways, executor)
