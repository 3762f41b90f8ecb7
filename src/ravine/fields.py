"""slopes: the gradient of the loss over the grid of a surface, for direction fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import xarray as xr

from ravine import study
from ravine.grid import Grid
from ravine.landscape import CHUNK_BYTES, _near, _placer
from ravine.parts import numpy_of
from ravine.problem import Problem, dimension, scalar
from ravine.progress import tracked
from ravine.threads import one_thread
from ravine.words import listed

__all__ = ["slopes"]


def slopes(problem: Problem | Mapping[str, Problem], land: xr.Dataset) -> xr.DataArray:
    """Evaluate the gradient of the loss at every point of a surface's grid.

    Parameters
    ----------
    problem
        A problem, or a mapping of them as in `ravine.descend`.
    land
        A surface of it: its two axes and the values along them are taken, nothing else.

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
    labels, problems = (None, [problem]) if isinstance(problem, Problem) else (list(problem), list(problem.values()))
    dim = None if isinstance(problem, Problem) else dimension(problem)
    horizontal, vertical = study.axes(land)
    known = problems[0].labels
    for name in (horizontal, vertical):
        if name not in known:
            raise ValueError(f"the surface's axis {name!r} is no parameter of the problem, which has {listed(known)}")
    axes = (land[horizontal].values.astype(np.float64), land[vertical].values.astype(np.float64))
    grid = Grid((horizontal, vertical), axes)
    with one_thread(), torch.random.fork_rng(), torch.enable_grad():
        found = [_field(each, grid) for each in problems]
    # the order of the axes is the picture's, that of the parameters the problem's
    order = sorted((0, 1), key=lambda k: known.index(grid.names[k]))
    fields = [numpy_of(field)[..., order] for field, _, _ in found]
    fate = study.provenance(
        _told([way for _, way, _ in found], labels),
        equals_torch=_told([checked for _, _, checked in found], labels),
        threads=1,
        others="held at the problem's start" if len(known) > 2 else "none",
    )
    coords: dict[str, object] = dict(zip(grid.names, grid.values, strict=True))
    coords["parameter"] = np.array([grid.names[k] for k in order])
    if dim is not None:
        coords[dim] = np.array(labels)
    elif problems[0].criterion is not None:
        coords["criterion"] = problems[0].criterion
    return xr.DataArray(
        np.stack(fields) if dim else fields[0],
        coords,
        (*(() if dim is None else (dim,)), vertical, horizontal, "parameter"),
        "slope",
        {"long_name": study.CONTRACT["slope"].long_name, "provenance": fate},
    )


def _field(problem: Problem, grid: Grid) -> tuple[torch.Tensor, str, str]:
    """Gradient by the horizontal and the vertical parameter, how it was had, and how it compares with autograd."""
    at = _single(problem, grid)
    places = [(int(a * len(grid.values[1])), int(b * len(grid.values[0]))) for a, b in ((0, 0), (0.4, 0.9), (0.8, 0.3))]
    singles = [at(row, column) for row, column in places]
    try:
        field = _batched(problem, grid)
    except Exception:  # whatever vmap cannot do; an error of the problem itself came above, unwrapped
        field = None
    # a loss that vmap gets wrong (one that keeps state, say) is not told by an error
    if field is None or not all(_near(one, field[place]) for one, place in zip(singles, places, strict=True)):
        rows = tracked(range(len(grid.values[1])), "rows")
        field = torch.stack([torch.stack([at(row, column) for column in range(len(grid.values[0]))]) for row in rows])
        return field, "one gradient after another", "is torch"
    gaps = [(one - field[place]).abs().nan_to_num(0.0) for one, place in zip(singles, places, strict=True)]
    gap = max(float(each.max()) for each in gaps)
    checked = f"at {len(places)} points checked"
    return (
        field,
        "torch.func.vmap of torch.func.grad",
        f"within {gap:.1e}, {checked}" if gap else f"every bit, {checked}",
    )


def _batched(problem: Problem, grid: Grid) -> torch.Tensor:
    place = _placer(problem, grid)
    like = next(iter(problem.start.values()))
    across, down = (torch.from_numpy(values).to(like) for values in grid.values)

    def loss(h: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return scalar(problem.loss(place(h, v))).reshape(())

    gradient = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))
    rows, columns = (each.reshape(-1) for each in torch.meshgrid(down, across, indexing="ij"))
    work = sum(value.numel() for value in problem.start.values())
    work += 0 if problem.parts is None else problem.parts.inputs.numel()
    some = max(1, CHUNK_BYTES // (16 * work))
    parts = [
        torch.stack(gradient(columns[k : k + some], rows[k : k + some]), -1)
        for k in tracked(range(0, len(rows), some), "chunks")
    ]
    return torch.cat(parts).reshape(len(down), len(across), 2).cpu()


def _single(problem: Problem, grid: Grid) -> Callable[[int, int], torch.Tensor]:
    """Return the gradient at one point by autograd; a loss that draws random numbers draws the same ones at each."""
    place = _placer(problem, grid)
    like = next(iter(problem.start.values()))

    def at(row: int, column: int) -> torch.Tensor:
        point = [torch.tensor(v[k]).to(like).requires_grad_() for v, k in zip(grid.values, (column, row), strict=True)]
        with torch.random.fork_rng():
            loss = scalar(problem.loss(place(*point))).reshape(())
        if not loss.requires_grad:
            return torch.zeros(2, dtype=like.dtype)
        found = torch.autograd.grad(loss, point, allow_unused=True)
        return torch.stack([torch.zeros_like(p) if g is None else g for p, g in zip(point, found, strict=True)]).cpu()

    return at


def _told(words: list[str], labels: list[str] | None) -> str | dict[str, str]:
    return words[0] if labels is None or len(set(words)) == 1 else dict(zip(labels, words, strict=True))
