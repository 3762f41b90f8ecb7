"""The linear neuron, as in the article: made, and recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ravine._problem.criteria import elementwise
from ravine._torch import fork_random_state, is_plain

if TYPE_CHECKING:
    from ravine._problem.problem import Problem


def neuron(weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Linear:
    """Return a linear layer with these parameters; the random state stays where it was."""
    # not by torch's skip_init: it goes by way of meta tensors, which take sympy to be imported
    with fork_random_state(devices=()):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], device="cpu").to(weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def is_linear(problem: Problem) -> bool:
    """Tell whether a problem's model is one linear layer of torch, and nothing but that."""
    parts = problem.parts
    return parts is not None and type(parts.model) is torch.nn.Linear and is_plain(parts.model)


def is_neuron(problem: Problem) -> bool:
    """Tell whether a problem is one linear neuron with a bias, under a criterion that has an element-wise form."""
    parts = problem.parts
    return (
        parts is not None
        and is_linear(problem)
        and tuple(problem.start) == ("weight", "bias")
        and parts.inputs.ndim == 2
        and parts.targets.shape == (len(parts.inputs), 1)
        and elementwise(parts.criterion) is not None
    )
