"""Buffers that a recording holds of each step, such as the statistics of a BatchNorm."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr

from ravine._study.labels import read_shapes


def read_buffers(run: xr.Dataset) -> Callable[[int], dict[str, torch.Tensor]]:
    """Return what gives the buffers by name that a recording holds of one of its steps; none of other runs."""
    if "buffers" not in run:
        return lambda step: {}
    rows = run["buffers"].transpose("step", "buffer").values
    shapes = read_shapes(run, "buffer")
    sizes = [math.prod(shape) for shape in shapes.values()]

    def of_step(step: int) -> dict[str, torch.Tensor]:
        return dict(zip(shapes, torch.split(torch.from_numpy(np.array(rows[step])), sizes), strict=True))

    return of_step
