"""What a problem is made of when it is the regression of one column of a file on others."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._format import kind_of, listed
from ravine._problem.criteria import Criterion
from ravine._problem.from_model import Made, read_model
from ravine._problem.neuron import neuron
from ravine._problem.parts import loss_of
from ravine._problem.read_csv import read
from ravine._problem.read_frame import name_of_source
from ravine._torch import copied


def read_regression(
    path: str | os.PathLike[str] | IO[Any],
    x: str | int | Sequence[str | int] | None,
    y: str | int | None,
    criterion: Criterion | str,
    *,
    standardize: bool,
    encoding: str | None,
    drop_missing: bool,
    decimal: str | None,
) -> Made:
    """Read the columns, say what was left out of them, and make a linear neuron; arguments of `Problem.from_csv`."""
    if not isinstance(path, str | os.PathLike) and not hasattr(path, "read"):
        raise TypeError(f'expected the path of a file, as in "points.csv", or an open file, got {kind_of(path)}')
    source: Any = Path(path) if isinstance(path, str | os.PathLike) else path
    table = read(source, x, y, standardize=standardize, encoding=encoding, drop_missing=drop_missing, decimal=decimal)
    said = list(table.said)
    if table.dropped:
        said.append(
            f"{table.dropped:,} of {table.dropped + len(table.inputs):,} rows are left out, because "
            f"{listed(table.gaps)} {'is' if len(table.gaps) == 1 else 'are'} missing there"
        )
    for words in said:
        warnings.warn(f"{name_of_source(source)}: {words}", stacklevel=3)
    dtype = _dtype_for(table.inputs, table.targets)
    inputs, targets = (copied(a).to(dtype) for a in (table.inputs, table.targets))
    model = neuron(torch.zeros(1, len(table.x), dtype=dtype), torch.zeros(1, dtype=dtype))
    made = read_model(model, criterion, (inputs, targets), (", ".join(table.x), table.y), "eval")
    assert made.parts is not None
    # a column that is called as a parameter is keeps apart from it
    columns = tuple(f"weight[{name}]" if name in ("weight", "bias") else name for name in table.x)
    parts = replace(made.parts, scales=table.scales, columns=columns if len(columns) > 1 else ())
    return Made(loss_of(parts), made.start, parts)


def _dtype_for(*arrays: NDArray[np.float64]) -> torch.dtype:
    """Choose torch's default dtype, or float64 where numbers of a column that differ would become one."""
    usual = torch.get_default_dtype()
    for column in np.concatenate(arrays, axis=1).T:
        rounded = torch.from_numpy(np.array(column)).to(usual)
        if not torch.isfinite(rounded).all() or len(torch.unique(rounded)) < len(np.unique(column)):
            return torch.float64
    return usual
