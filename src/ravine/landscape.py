"""surface: the loss over a plane of two parameters, in the problem's own bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
import xarray as xr

from ravine import study
from ravine.grid import Grid, Range, grid_of
from ravine.parts import elementwise, numpy_of
from ravine.problem import Problem, dimension, is_neuron, scalar
from ravine.progress import tracked
from ravine.threads import one_thread

__all__ = ["surface"]

CHUNK_BYTES = 1_200_000
"""Numbers worked on at once: about what stays in a core's own cache (measured: 0.8 to 1.2 MB is best)."""


def surface(
    problem: Problem | Mapping[str, Problem],
    axes: Mapping[str, Range] | None = None,
    *,
    points: int = 101,
    **named_axes: Range,
) -> xr.Dataset:
    """Evaluate the loss over a grid of two parameters.

    Parameters
    ----------
    problem
        A problem, or a mapping of them as in `ravine.descend`.
    axes, **named_axes
        Two parameter labels, the horizontal one first, each with a range or with the grid itself: a tuple
        ``(low, high)`` is a range; a list or an array are the values, in any order. The mapping serves names
        that are no Python identifiers. Left out, the problem's own ranges are taken.
    points
        Grid points along each range: ``low + (high - low) * i / (points - 1)`` in Python floats.

    Returns
    -------
    xarray.Dataset
        ``surface`` (…, vertical, horizontal) in the problem's dtype. Parameters that are not on an axis are
        held at the problem's start. A loss that is not finite stays as it is. A loss that draws random
        numbers (dropout in train mode) draws the same ones at every point, and the generator is put back.

    Raises
    ------
    ValueError
        If there are not two axes, a label is unknown, or a range is empty or not finite.

    Examples
    --------
    >>> import ravine
    >>> land = ravine.surface(ravine.gallery.article(), bias=(-5, 8), weight=(-5, 8))
    >>> land.surface.dims, land.surface.shape, land.surface.dtype
    (('criterion', 'weight', 'bias'), (4, 101, 101), dtype('float32'))
    >>> round(float(land.surface.sel(criterion="MSELoss").min()), 3)
    0.504

    Notes
    -----
    Linear neurons with an element-wise criterion are evaluated by one broadcast, other problems by
    `torch.func.vmap`, and what that cannot batch one by one. Some points are always evaluated singly too;
    the provenance says whether the bits were equal.
    """
    labels, problems = (None, [problem]) if isinstance(problem, Problem) else (list(problem), list(problem.values()))
    dim = dimension(problem) if isinstance(problem, Mapping) else None
    grid = grid_of(problems[0], {**(axes or {}), **named_axes}, points)
    with torch.no_grad(), one_thread(), torch.random.fork_rng():
        maps = _affine_maps(problems, grid) if dim != "problem" and all(map(_is_neuron, problems)) else None
        if maps is None:
            maps = [_general_map(each, grid) for each in problems]
    checks = [_checked(each, grid, values, k) for k, (each, (values, _)) in enumerate(zip(problems, maps, strict=True))]
    values = np.stack([numpy_of(each) for each, _ in maps]) if dim else numpy_of(maps[0][0])
    fate = study.provenance(
        _told([way for _, way in maps], labels),
        equals_torch=_told(checks, labels),
        threads=1,
        others="held at the problem's start" if len(problems[0].labels) > 2 else "none",
    )
    attrs = {"long_name": study.CONTRACT["surface"].long_name, "provenance": fate}
    coords: dict[str, Any] = dict(zip(grid.names, grid.values, strict=True))
    if dim is not None:
        coords[dim] = np.array(labels)
    elif problems[0].criterion is not None:
        coords["criterion"] = problems[0].criterion
    lead = () if dim is None else (dim,)
    return xr.Dataset({"surface": ((*lead, *reversed(grid.names)), values, attrs)}, coords)


def _is_neuron(problem: Problem) -> bool:
    """One linear neuron on one input with a criterion that has an element-wise form."""
    return is_neuron(problem) and problem.labels == ("weight", "bias")


def _affine_maps(problems: Sequence[Problem], grid: Grid) -> list[tuple[torch.Tensor, str]]:
    """All criteria from one prediction per point: points first, data last, mean over the last dimension.

    With the data last each mean adds up in the very order of the scalar loop; the other layout never does.
    """
    parts = problems[0].parts
    assert parts is not None
    x, y = parts.inputs[:, 0].contiguous(), parts.targets[:, 0].contiguous()
    values = dict(zip(grid.names, (torch.from_numpy(v).to(x) for v in grid.values), strict=True))
    weights, biases = values["weight"], values["bias"]
    criteria = [elementwise(each.parts.criterion) for each in problems if each.parts is not None]
    maps = [torch.empty(len(weights), len(biases), dtype=x.dtype) for _ in problems]
    row = len(x) * x.element_size()
    some_biases = max(1, min(len(biases), CHUNK_BYTES // row))
    some_weights = max(1, min(len(weights), CHUNK_BYTES // (some_biases * row)))
    room = x.new_empty(some_weights, some_biases, len(x))  # one buffer: fresh pages cost more than the arithmetic
    for w in range(0, len(weights), some_weights):
        scaled = (x * weights[w : w + some_weights, None])[:, None, :]
        for b in range(0, len(biases), some_biases):
            shift = biases[b : b + some_biases, None]
            prediction = torch.add(scaled, shift, out=room[: len(scaled), : len(shift)])
            target = y.expand_as(prediction)
            for criterion, losses in zip(criteria, maps, strict=True):
                assert criterion is not None
                place = losses[w : w + some_weights, b : b + some_biases]
                torch.mean(criterion(prediction, target), -1, out=place)
    horizontal_is_bias = grid.names[0] == "bias"
    return [(each if horizontal_is_bias else each.T.contiguous(), "broadcast of the linear neuron") for each in maps]


def _general_map(problem: Problem, grid: Grid) -> tuple[torch.Tensor, str]:
    try:
        losses = _vmapped(problem, grid)
    except Exception:  # whatever vmap cannot do; an error of the problem itself comes again below, unwrapped
        return _one_by_one(problem, grid), "one evaluation after another"
    # a loss that vmap gets wrong (one that keeps state, say) is not told by an error: the points checked tell
    if any(not _near(single, losses[place]) for place, single in _singles(problem, grid)):
        return _one_by_one(problem, grid), "one evaluation after another"
    return losses, "torch.func.vmap"


def _vmapped(problem: Problem, grid: Grid) -> torch.Tensor:
    horizontal, vertical = (torch.from_numpy(v) for v in grid.values)
    place = _placer(problem, grid)
    loss_at = torch.func.vmap(lambda h, v: scalar(problem.loss(place(h, v))).reshape(()))
    down, across = (each.reshape(-1) for each in torch.meshgrid(vertical, horizontal, indexing="ij"))
    work = sum(v.numel() for v in problem.start.values())
    work += 0 if problem.parts is None else problem.parts.inputs.numel()
    some = max(1, CHUNK_BYTES // (8 * work))
    chunks = tracked(range(0, len(down), some), "chunks")
    losses = torch.cat([loss_at(across[k : k + some], down[k : k + some]) for k in chunks])
    return losses.reshape(len(vertical), len(horizontal)).cpu()


def _one_by_one(problem: Problem, grid: Grid) -> torch.Tensor:
    place = _placer(problem, grid)
    horizontal, vertical = (torch.from_numpy(v) for v in grid.values)
    rows = [torch.stack([_single(problem, place(h, v)) for h in horizontal]) for v in tracked(list(vertical), "rows")]
    return torch.stack(rows)


def _placer(problem: Problem, grid: Grid) -> Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]:
    """Return a function that gives the parameters at a point of the grid, the others held at the start."""
    spots = []
    for name, value in problem.start.items():
        for index in np.ndindex(tuple(value.shape)):
            spots.append((name, index))
    chosen = [spots[problem.labels.index(label)] for label in grid.names]

    def place(*coordinates: torch.Tensor) -> dict[str, torch.Tensor]:
        parameters = dict(problem.start)
        for (name, index), coordinate in zip(chosen, coordinates, strict=True):
            old = parameters[name]
            coordinate = coordinate.to(old)
            if old.numel() == 1:
                parameters[name] = coordinate.reshape(old.shape)
            else:
                here = torch.zeros(old.shape, dtype=torch.bool, device=old.device)
                here[index] = True
                parameters[name] = torch.where(here, coordinate, old)
        return parameters

    return place


def _single(problem: Problem, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    state = torch.get_rng_state()
    loss = scalar(problem.loss(parameters)).detach().reshape(()).cpu()
    torch.set_rng_state(state)
    return loss


CHECKED = (0.382, 0.854, 0.0, 0.618)
"""Where, as a share of the grid's sides, points are evaluated singly too."""


def _singles(problem: Problem, grid: Grid) -> Iterator[tuple[tuple[int, int], torch.Tensor]]:
    """Evaluate a few points singly."""
    place = _placer(problem, grid)
    horizontal, vertical = grid.values
    for column, row in (_spot(grid, share) for share in CHECKED):
        parameters = place(torch.tensor(horizontal[column]), torch.tensor(vertical[row]))
        yield (row, column), _single(problem, parameters)


def _neuron_pair(problem: Problem, grid: Grid, values: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Evaluate one point by the layer's own operation, beside what the broadcast gave; no random number is drawn."""
    assert problem.parts is not None
    column, row = _spot(grid, share)
    x = problem.parts.inputs
    here = {name: x.new_tensor(v[k]) for name, v, k in zip(grid.names, grid.values, (column, row), strict=True)}
    prediction = F.linear(x, here["weight"].reshape(1, 1), here["bias"].reshape(1))
    return problem.parts.criterion(prediction, problem.parts.targets), values[row, column]


def _spot(grid: Grid, share: float) -> tuple[int, int]:
    horizontal, vertical = grid.values
    return int(share * len(horizontal)), int((1 - share) * (len(vertical) - 1))


def _near(one: torch.Tensor, other: torch.Tensor) -> bool:
    room = 1000 * torch.finfo(one.dtype).eps
    return torch.allclose(one, other, rtol=room, atol=room, equal_nan=True)


def _checked(problem: Problem, grid: Grid, values: torch.Tensor, turn: int) -> str:
    with torch.no_grad():
        if _is_neuron(problem):  # four criteria share their predictions: one point for each checks them all
            pairs = [_neuron_pair(problem, grid, values, CHECKED[turn % len(CHECKED)])]
        else:
            with one_thread(), torch.random.fork_rng():
                pairs = [(single, values[place]) for place, single in _singles(problem, grid)]
    points = f"at {len(pairs)} point{'s' * (len(pairs) > 1)} checked"
    if all(torch.equal(one, other) or bool(one.isnan() & other.isnan()) for one, other in pairs):
        return f"every bit, {points}"
    return f"within {max(float((one - other).abs().nan_to_num(0.0)) for one, other in pairs):.1e}, {points}"


def _told(words: Sequence[str], labels: Sequence[str] | None) -> str | dict[str, str]:
    return words[0] if labels is None or len(set(words)) == 1 else dict(zip(labels, words, strict=True))
