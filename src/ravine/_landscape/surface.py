"""surface: the loss over a plane of two parameters, in the problem's own bits.

slopes: the gradient of the loss over the grid of a surface, for direction fields.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor

import numpy as np
import torch
import xarray as xr

from ravine._format import kind_of, listed
from ravine._landscape.evaluate import EVERY, GridValues, evaluate_grid, grid_dataset, loss_at
from ravine._landscape.grid import Grid, Range, grid_of, read_axes
from ravine._landscape.of_neuron import maps_of_neuron
from ravine._landscape.on_plane import Accuracy, surface_on
from ravine._parallel.workers import check_executor
from ravine._plane.plane import Plane
from ravine._problem.dimension import dimension
from ravine._problem.neuron import is_neuron
from ravine._problem.problem import Problem
from ravine._problems import Given, as_problem
from ravine._study.contract import axes
from ravine._system import check_fits
from ravine._torch import has_global_hooks, one_thread, with_gradients


@with_gradients
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
    check_executor(executor, hooked=has_global_hooks())
    problem = as_problem(problem, "slopes")
    problems = [problem] if isinstance(problem, Problem) else list(problem.values())
    known, names = problems[0].labels, axes(land)
    for name in names:
        if name not in known:
            raise ValueError(f"the surface's axis {name!r} is no parameter of the problem, which has {listed(known)}")
    horizontal, vertical = (land[name].values.astype(np.float64) for name in names)
    grid = Grid(names, (horizontal, vertical))
    # the order of the axes is the picture's, that of the parameters the problem's
    order = sorted((0, 1), key=lambda k: known.index(names[k]))
    with torch.enable_grad():  # never the state of the process: it would be held while workers are waited for
        found = [_field(each, grid, executor) for each in problems]
    found = [each._replace(values=each.values[..., order]) for each in found]
    return grid_dataset("slope", problem, grid, found)["slope"].assign_coords(parameter=np.array(names)[order])


def _field(problem: Problem, grid: Grid, executor: Executor | None) -> GridValues:
    """Derivatives by the horizontal and the vertical parameter."""
    loss = loss_at(problem, grid.names)

    def one(*coordinates: torch.Tensor) -> torch.Tensor:
        point = [each.clone().requires_grad_() for each in coordinates]
        value = loss(*point)
        if not value.requires_grad:
            return torch.zeros(2, dtype=point[0].dtype)
        return torch.stack(torch.autograd.grad(value, point, allow_unused=True, materialize_grads=True))

    gradient = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))

    def many(*coordinates: torch.Tensor) -> torch.Tensor:
        return torch.stack(gradient(*coordinates), -1)

    ways = ("torch.func.vmap of torch.func.grad", "one gradient after another")
    return evaluate_grid(problem, grid, one, many, ways, executor, every=EVERY // 4)  # each takes longer than a loss


@with_gradients
def surface(
    problem: Given,
    axes: Mapping[str, Range] | None = None,
    *,
    plane: Plane | None = None,
    points: int | None = None,
    slope: bool = False,
    executor: Executor | None = None,
    store: str | os.PathLike[str] | None = None,
    accuracy: Accuracy = "exact",
    **named_axes: Range,
) -> xr.Dataset:
    """Evaluate the loss over a grid of two parameters, or over a plane through all of them.

    Parameters
    ----------
    problem
        A problem, a mapping of them, or a word for one, as in `ravine.descend`.
    axes, **named_axes
        Two parameter labels, the horizontal one first, each with a range or with the grid itself: a tuple
        ``(low, high)`` is a range; a list or an array are the values, in any order; a single value makes a slice.
        The mapping serves names that are no Python identifiers. Left out, the problem's own ranges are taken, or those
        of the plane: around its path, or (-1, 1).
    plane
        A `ravine.Plane`: the axes are then its two, and every point stands for a place among all parameters. They are
        written over in a private copy of the model, one point after another.
    points
        Grid points along each range: ``low + (high - low) * i / (points - 1)`` in Python floats. Left out, 101, and
        41 on a plane.
    slope
        Also evaluate the gradient at each point, for exact arrows in ``plot.descent(runs, land, field=True)``; not on
        planes.
    executor
        Who evaluates the points of a slow loss, as in `ravine.sweep`: left out, this process. The numbers are the
        same; on a plane those of one thread. Linear neurons are evaluated here all the same, which takes less time
        than to ask.
    store
        A new folder for a surface over a plane, by custom .zarr. Each row is written as soon as it is evaluated, in one
        thread; killed at any instant, the same call goes on, and `ravine.open` reads what is there. A store of another
        surface is refused: a finished row is evaluated again and must be the same in every bit.
    accuracy
        ``"fast"``, over a plane: the loss is evaluated at few points, of large grids a tenth or less, and the grid is
        read off a polynomial through Chebyshev nodes. At points that are no nodes it may be off by 5 · 10⁻⁵ of the
        range of the loss (of ten times that of its lower half, where that is less); what is narrower than the distance
        of all these points is not seen. `ravine.refine` reads it off anywhere.

    Returns
    -------
    xarray.Dataset
        ``surface`` (…, vertical, horizontal) in the problem's dtype. Parameters that are not on an axis are
        held at the problem's start. A loss that is not finite stays as it is. A loss that draws random
        numbers (dropout in train mode) draws the same ones at every point, and the generator is put back.
        With `slope` also ``slope`` (…, vertical, horizontal, parameter), the parameters in the order of the labels.
        On a plane the loss is added up in float64, and ``squares`` beside it is the sum of the squares of all
        parameters at each point, which weight decay is minimised by.

    Raises
    ------
    ValueError
        If there are not two axes, a label is unknown, a range is empty or not finite, or the slope is asked of a
        problem of more than two parameters; with ``accuracy="fast"`` if the surface is not smooth enough for it, and by
        how much, or not finite somewhere.
    TimeoutError
        If no worker answers within a minute.

    Examples
    --------
    >>> import ravine
    >>> land = ravine.surface(ravine.gallery.article(), bias=(-5, 8), weight=(-5, 8))
    >>> land.surface.dims, land.surface.shape, land.surface.dtype
    (('criterion', 'weight', 'bias'), (4, 101, 101), dtype('float32'))
    >>> round(float(land.surface.sel(criterion="MSELoss").min()), 3)
    0.504
    >>> ravine.surface(ravine.gallery.rosenbrock(), x=(-2, 2), y=(-1, 3), slope=True).slope.dims
    ('y', 'x', 'parameter')

    Notes
    -----
    Linear neurons with an element-wise criterion are evaluated by one broadcast, other problems by
    `torch.func.vmap`, and what that cannot batch one by one. Some points are always evaluated singly too;
    the provenance says whether the bits were equal.
    """
    check_executor(executor, hooked=has_global_hooks())
    problem = as_problem(problem, "ravine.surface")
    if accuracy not in ("exact", "fast"):
        raise ValueError(f'accuracy must be "exact" or "fast", got {accuracy!r}')
    if accuracy == "fast" and (plane is None or store is not None):
        raise ValueError('accuracy="fast" is for surfaces over a plane=, and takes no store=: it is soon done')
    if plane is not None:
        if not isinstance(plane, Plane):
            raise TypeError(f"plane must be a ravine.Plane, got {kind_of(plane)}: ravine.Plane.ends(run) makes one")
        if not isinstance(problem, Problem) or slope:
            raise ValueError("on a plane ravine.surface takes one problem, without slope")
        with torch.no_grad():
            return surface_on(problem, plane, {**read_axes(axes), **named_axes}, points, executor, store, accuracy)
    if store is not None:
        raise ValueError("store is for surfaces over a plane=, which take long; others are saved with ravine.save")
    points = POINTS if points is None else points
    problems = [problem] if isinstance(problem, Problem) else list(problem.values())
    along = None if isinstance(problem, Problem) else dimension(problem)
    needed = 0
    if isinstance(points, int):
        needed = len(problems) * points**2 * next(iter(problems[0].start.values())).element_size()
    if needed > SMALL_BYTES:  # below, asking what is free takes longer than the points
        check_fits(f"a surface of {points:,} by {points:,} points takes", needed, "take fewer points")
    grid = grid_of(problems[0], {**read_axes(axes), **named_axes}, points)
    if slope and problems[0].size > 2:  # beside runs, their parameters and these two would be aligned as one
        raise ValueError(f"slope=True is for two parameters, and this problem has {problems[0].size}: leave it out")
    with torch.no_grad():
        if along != "problem" and all(is_neuron(each) and each.size == 2 for each in problems):
            with one_thread():
                found = maps_of_neuron(problems, grid)
        else:
            found = [_general_map(each, grid, executor) for each in problems]
    land = grid_dataset("surface", problem, grid, found, along)
    return land.assign(slope=slopes(problem, land, executor=executor)) if slope else land


SMALL_BYTES = 4_000_000
"""What a surface takes without asking."""

POINTS = 101
"""Grid points along each axis, where nothing else is said."""


def _general_map(problem: Problem, grid: Grid, executor: Executor | None) -> GridValues:
    loss = loss_at(problem, grid.names)
    ways = ("torch.func.vmap", "one evaluation after another")
    return evaluate_grid(problem, grid, loss, torch.func.vmap(loss), ways, executor)
