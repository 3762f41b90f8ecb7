"""Labels of many numbers that stand in a row: each by its tensor's name, or where there are too many by its place."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

LABELLED = 10_000
"""Numbers up to which each has a label of its own; beyond, they are numbered: a million labels take half a second."""

Shapes = Mapping[str, Sequence[int]]


def size_of(shapes: Shapes) -> int:
    """Return how many numbers tensors of these shapes hold.

    Examples
    --------
    >>> size_of({"weight": (2, 3), "scale": ()})
    7
    """
    return sum(math.prod(shape) for shape in shapes.values())


def labels_of(shapes: Shapes) -> tuple[str, ...]:
    """Return one label for each number: the tensor's name, with an index where it holds several.

    Examples
    --------
    >>> labels_of({"weight": (1, 2), "bias": (1,)})
    ('weight[0,0]', 'weight[0,1]', 'bias')
    """
    return tuple(
        name if math.prod(shape) == 1 else f"{name}[{','.join(map(str, index))}]"
        for name, shape in shapes.items()
        for index in np.ndindex(tuple(shape))
    )


def label_variable(dim: str, shapes: Shapes, labels: Sequence[str] | None = None) -> xr.Variable:
    """Return the coordinate of a dimension that runs over the numbers of tensors.

    Beyond `LABELLED` it holds their places, and its attribute ``shapes`` maps names to shapes, as JSON.

    Examples
    --------
    >>> label_variable("parameter", {"weight": (1, 2)}).values.tolist()
    ['weight[0,0]', 'weight[0,1]']
    >>> label_variable("parameter", {"weight": (300, 400)}).attrs
    {'shapes': '{"weight": [300, 400]}'}
    """
    size = size_of(shapes)
    if size <= LABELLED:
        return xr.Variable(dim, np.array(labels or labels_of(shapes)))
    told = json.dumps({name: list(shape) for name, shape in shapes.items()}, ensure_ascii=False)
    return xr.Variable(dim, np.arange(size), {"shapes": told})


def shapes_in(labels: NDArray[np.str_]) -> dict[str, tuple[int, ...]]:
    """Read names and shapes of tensors off the labels of their elements.

    Examples
    --------
    >>> shapes_in(np.array(["w[0,0]", "w[0,1]", "b", "x[0]", "x[1]"]))
    {'w': (1, 2), 'b': (), 'x': (2,)}
    """
    found: dict[str, tuple[int, ...]] = {}
    counts: dict[str, int] = {}
    for label in map(str, labels):
        name, bracket, rest = label.rpartition("[")
        places = rest.removesuffix("]").split(",")
        if bracket and rest.endswith("]") and all(each.isdigit() for each in places):
            shape = tuple(int(each) + 1 for each in places)
        else:
            name, shape = label, ()
        found[name] = tuple(map(max, found.get(name, shape), shape))
        counts[name] = counts.get(name, 0) + 1
    if any(math.prod(found[name]) != counts[name] for name in found):  # labels that only look like elements
        return {str(label): () for label in labels}
    return found


def read_shapes(run: xr.Dataset, dim: str = "parameter") -> dict[str, tuple[int, ...]]:
    """Return the shapes of a run's tensors by name, from its labels or from what stands beside numbers."""
    if dim not in run.coords:
        return {dim: (run.sizes[dim],)}
    labels = run[dim]
    said = labels.attrs.get("shapes")
    if said is None:
        return shapes_in(labels.values)
    try:
        shapes = json.loads(said)
    except ValueError:  # as it was written before
        shapes = ast.literal_eval(said)
    return {str(name): plain_shape(shape) for name, shape in shapes.items()}


def plain_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape as labels tell it: a tensor of one number has none."""
    return () if math.prod(shape) == 1 else tuple(map(int, shape))
