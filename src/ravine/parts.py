"""Parts: the module, criterion and data that a problem was made of, and how they give its loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from numpy.typing import NDArray

__all__ = [
    "ELEMENTWISE",
    "Criterion",
    "Parts",
    "as_data",
    "call",
    "copied",
    "elementwise",
    "loss_of",
    "name_of",
    "neuron",
    "numpy_of",
]

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

ELEMENTWISE = (
    torch.nn.MSELoss,
    torch.nn.L1Loss,
    torch.nn.HuberLoss,
    torch.nn.SmoothL1Loss,
    torch.nn.BCELoss,
    torch.nn.BCEWithLogitsLoss,
)
"""Criteria that compare prediction and target element by element, and so need equal shapes."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What a problem was made of, so that faster engines can recognise it."""

    model: torch.nn.Module
    criterion: Criterion
    inputs: torch.Tensor
    targets: torch.Tensor
    names: tuple[str, str] = ("x", "y")

    def alike_but_criterion(self, other: Parts) -> bool:
        """Tell whether only the criterion differs."""
        mine, theirs = self.model.state_dict(), other.model.state_dict()
        return (
            repr(self.model) == repr(other.model)
            and self.model.training == other.model.training
            and mine.keys() == theirs.keys()
            and all(_same(mine[name], theirs[name]) for name in mine)
            and _same(self.inputs, other.inputs)
            and _same(self.targets, other.targets)
        )


def neuron(weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Linear:
    """Return a linear layer with these parameters; no random number is drawn."""
    layer: torch.nn.Linear = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], weight.shape[0])  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer.to(weight.dtype)


def elementwise(criterion: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
    """Return the criterion without its reduction, where there is such a form and the reduction is a mean."""
    if getattr(criterion, "reduction", None) != "mean":
        return None
    kind = type(criterion)
    if kind is torch.nn.MSELoss:
        return lambda a, b: F.mse_loss(a, b, reduction="none")
    if kind is torch.nn.L1Loss:
        return lambda a, b: F.l1_loss(a, b, reduction="none")
    if kind is torch.nn.HuberLoss:
        return lambda a, b: F.huber_loss(a, b, reduction="none", delta=criterion.delta)
    if kind is torch.nn.SmoothL1Loss:
        return lambda a, b: F.smooth_l1_loss(a, b, reduction="none", beta=criterion.beta)
    return None


def loss_of(parts: Parts) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
    """Return the loss as a function of named parameters; it leaves the module as it was."""
    return lambda parameters: parts.criterion(call(parts, parameters), parts.targets)


def call(parts: Parts, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the module's output with these parameters."""
    # buffers are cloned at each call: a BatchNorm in train mode writes into them
    buffers = {name: buffer.clone() for name, buffer in parts.model.named_buffers()}
    output: torch.Tensor = torch.func.functional_call(parts.model, {**parameters, **buffers}, (parts.inputs,))
    return output


def copied(value: Any) -> torch.Tensor:
    """Return a tensor of its own from numbers, an array, a table or a tensor."""
    if hasattr(value, "__array__") and not torch.is_tensor(value):
        return torch.from_numpy(np.array(value))  # a copy first: torch warns of arrays that cannot be written to
    return torch.as_tensor(value).detach().clone()


def numpy_of(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor's numbers as an array."""
    tensor = tensor.detach().cpu()
    # numpy has no bfloat16; float32 holds each of its values
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def as_data(name: str, value: Any) -> torch.Tensor:
    """Return a copy of an array or tensor, or say what is wrong with it."""
    try:
        tensor = copied(value)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise ValueError(f"{name} are no array or tensor: {reason}") from None
    if tensor.ndim == 0 or tensor.shape[0] == 0:
        raise ValueError(f"{name} are empty: shape {tuple(tensor.shape)}")
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        place = tuple(int(i) for i in (~torch.isfinite(tensor)).nonzero()[0])
        raise ValueError(f"{name} hold {tensor[place].item()} at {list(place)}: remove or fill such values first")
    return tensor


def name_of(criterion: Criterion) -> str:
    """Name of a criterion: its class's, or a function's own."""
    return getattr(criterion, "__name__", type(criterion).__name__)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))
