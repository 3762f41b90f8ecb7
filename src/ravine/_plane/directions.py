"""Random directions through the space of all parameters, scaled as the parameters themselves are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvTransposeNd

Vector = NDArray[np.float64]

Normalize = Literal["filter", "layer"] | None
"""How a random direction is scaled: as each filter is, as each tensor is, or not at all."""

NORMS = (_NormBase, torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.RMSNorm)
"""Layers whose parameters a direction leaves as they are."""


def random_direction(
    start: Mapping[str, torch.Tensor],
    generator: torch.Generator,
    normalize: Normalize = "filter",
    owners: Mapping[str, torch.nn.Module] | None = None,
) -> Vector:
    r"""Draw a direction from a Gaussian and scale it: :math:`d \leftarrow d\,\|\theta\|/\|d\|` of each filter.

    A filter is what leads into one output: an entry of the first dimension; of the second in transposed convolutions,
    in each of their groups, and in the Conv1D of transformers; the row of an embedding. Tensors of fewer than two
    dimensions and all of norm layers stay 0, and so does a filter that is 0.

    Parameters
    ----------
    start
        Parameter name to its values.
    generator
        Where the numbers are drawn from, tensor by tensor.
    normalize
        ``"filter"``; ``"layer"``: one factor for each tensor of two dimensions or more; None: plain Gaussian.
    owners
        Parameter name to the layer that it belongs to, where that is known.

    Examples
    --------
    >>> start = {"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "bias": torch.ones(2)}
    >>> drawn = random_direction(start, torch.Generator().manual_seed(0))
    >>> round(float(np.linalg.norm(drawn[:2])), 6), drawn[2:].tolist()
    (5.0, [0.0, 0.0, 0.0, 0.0])
    """
    pieces = []
    for name, values in start.items():
        drawn = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        pieces.append(_scale(drawn, values.detach().cpu().double(), normalize, (owners or {}).get(name)).reshape(-1))
    found: Vector = torch.cat(pieces).numpy()
    return found


def find_owners(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return the layer that each parameter of a module belongs to."""
    return {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in model.named_modules()
        for name in module._parameters
    }


def _scale(drawn: torch.Tensor, values: torch.Tensor, normalize: Normalize, owner: object) -> torch.Tensor:
    if normalize is None:
        return drawn
    if values.ndim < 2 or isinstance(owner, NORMS):
        return torch.zeros_like(drawn)
    if normalize == "layer":
        return drawn * _ratio(values.norm(), drawn.norm())
    if isinstance(owner, _ConvTransposeNd):  # (inputs, outputs of a group, …): each group has filters of its own
        grouped = (owner.groups, values.shape[0] // owner.groups, *values.shape[1:])
        drawn, values, over = drawn.view(grouped), values.view(grouped), (1, *range(3, len(grouped)))
    elif type(owner).__name__ == "Conv1D" and values.ndim == 2:  # of transformers: (inputs, outputs)
        over = (0,)
    else:
        over = tuple(range(1, values.ndim))
    norm = torch.linalg.vector_norm
    # + 0.0: a filter that is 0 gets 0, not -0
    return drawn * _ratio(norm(values, dim=over, keepdim=True), norm(drawn, dim=over, keepdim=True)) + 0.0


def _ratio(wanted: torch.Tensor, got: torch.Tensor) -> torch.Tensor:
    return torch.where(got > 0, wanted / torch.where(got > 0, got, 1.0), 0.0)
