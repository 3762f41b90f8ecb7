"""Maps of a linear neuron: all criteria over one grid, and single points of each as torch gives them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from numpy.typing import NDArray

from ravine._landscape.evaluate import (
    CHUNK_BYTES,
    EVERY,
    MOST_NUMBERS,
    GridValues,
    agreement,
    check_points,
    extremes,
)
from ravine._landscape.grid import Grid
from ravine._problem.compiled import choose_for_losses, keys_of_losses, recall
from ravine._problem.criteria import losses_of_residual
from ravine._problem.order import ON_GRID, GridForward, choose_on_grid
from ravine._problem.parts import Parts
from ravine._problem.problem import Problem
from ravine._torch import numpy_of

Numbers = NDArray[np.floating[Any]]

BROADCAST = "broadcast of the linear neuron"
"""What a map of a neuron is called in its provenance."""

SHARED = 6
"""A criterion is compared at every sixth of the points of a large grid that are checked: predictions are shared."""


def maps_of_neuron(problems: Sequence[Problem], grid: Grid) -> list[GridValues]:
    """Evaluate criteria of one data over a grid: by the compiled kernel, else from one prediction per point, data last.

    With the data last each mean adds up in the very order of the scalar loop; the other layout never does.
    """
    every = [each.parts for each in problems if each.parts is not None]
    inputs, across = every[0].inputs, grid.names[0] == "weight"
    values = dict(zip(grid.names, (torch.from_numpy(v).to(inputs) for v in grid.values), strict=True))
    weights, biases = values["weight"], values["bias"]
    low, high = min(float(v.min()) for v in grid.values), max(float(v.max()) for v in grid.values)
    maps, keys = [inputs.new_empty(len(weights), len(biases)) for _ in every], keys_of_losses(every)
    ways, left = [BROADCAST] * len(every), list[tuple[Parts, torch.Tensor]]()
    for k, (parts, losses) in enumerate(zip(every, maps, strict=True)):
        compiled = choose_for_losses(parts, keys[k], low, high)
        if compiled is None:
            left.append((parts, losses))
        else:
            compiled.fill(weights, biases, losses)
            ways[k] = f"{BROADCAST}, compiled for {compiled.neuron.kernel.level}"
    if left:
        _broadcast(left, ON_GRID[choose_on_grid(inputs, low, high)], weights, biases)
    small = maps[0].numel() <= EVERY and maps[0].numel() * inputs.numel() <= MOST_NUMBERS
    checked = [*np.ndindex(*grid.shape)] if small else check_points(*grid.shape)
    points, told = [(column, row) if across else (row, column) for row, column in checked], []
    numbers = numpy_of(weights), numpy_of(biases)
    for k, (parts, losses) in enumerate(zip(every, maps, strict=True)):
        some = points if small else [*(points[k % SHARED :: SHARED] or points[:1]), *extremes(losses)]
        rows, columns = np.array([*dict.fromkeys(some)]).T
        single = _single_losses(parts, keys[k], numbers[0][rows], numbers[1][columns])
        told.append(agreement(single, numpy_of(losses)[rows, columns], losses.numel()))
    if across:
        maps = [each.T.contiguous() for each in maps]
    return [GridValues(*each) for each in zip(maps, ways, told, strict=True)]


def _broadcast(
    wanted: Sequence[tuple[Parts, torch.Tensor]], forward: GridForward, weights: torch.Tensor, biases: torch.Tensor
) -> None:
    """Write maps (weights, biases), in two buffers that are used again: fresh pages cost more than the arithmetic."""
    parts = wanted[0][0]
    x, y = parts.inputs[:, 0].contiguous(), parts.targets[:, 0].contiguous()
    losses_of = [losses_of_residual(each.criterion, y) for each, _ in wanted]
    row = 2 * len(x) * x.element_size()
    some_biases = max(1, min(len(biases), CHUNK_BYTES // row))
    some_weights = max(1, min(len(weights), CHUNK_BYTES // (some_biases * row)))
    free = x.new_empty(2, some_weights, some_biases, len(x))
    for w in range(0, len(weights), some_weights):
        some = weights[w : w + some_weights, None, None]
        for b in range(0, len(biases), some_biases):
            shift = biases[b : b + some_biases, None]
            room, each = free[:, : len(some), : len(shift)]
            residual = forward(x, some, shift, room).sub_(y)
            for losses, (_, out) in zip(losses_of, wanted, strict=True):
                torch.mean(losses(residual, each), -1, out=out[w : w + some_weights, b : b + some_biases])


def _single_losses(parts: Parts, key: Hashable, weights: Numbers, biases: Numbers) -> Numbers:
    """Return the losses at some points as the layer's own operation and the criterion give each.

    What torch gave for the same bits (`key`, and those of the points) is remembered: it would give them again.
    """

    def ask_torch() -> Numbers:
        at = (torch.from_numpy(each).to(parts.inputs) for each in (weights[:, None, None], biases[:, None]))
        layer = [F.linear(parts.inputs, weight, bias) for weight, bias in zip(*at, strict=True)]
        return numpy_of(torch.stack([parts.criterion(prediction, parts.targets) for prediction in layer]))

    return recall(_remembered, (key, weights.tobytes(), biases.tobytes()), ask_torch)


_remembered: dict[Hashable, Numbers] = {}
"""What torch gave at single points in this process."""
