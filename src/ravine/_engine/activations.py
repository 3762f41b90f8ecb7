"""Element-wise activations of torch.nn and their derivatives, by the very functions that torch's autograd calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """An element-wise function and its derivative, as torch's autograd takes them; both write into `out`."""

    forward: Callable[[torch.Tensor, torch.Tensor], object]
    backward: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], object]
    of_output: bool
    """Whether the derivative is made from what the function gave, or from what it was given."""
    is_tanh: bool = False


def read_activation(module: Any) -> Activation | None:
    """Return an activation of torch.nn; None for any other module.

    Examples
    --------
    >>> read_activation(torch.nn.Tanh()).of_output, read_activation(torch.nn.Softmax(dim=1)) is None
    (True, True)
    """
    kind = type(module)
    if getattr(module, "inplace", False) and kind is not torch.nn.ReLU:  # then the derivative is made otherwise
        return None
    if kind is torch.nn.Tanh:
        return Activation(
            lambda x, out: aten.tanh.out(x, out=out),
            lambda g, y, out: aten.tanh_backward.grad_input(g, y, grad_input=out),
            of_output=True,
            is_tanh=True,
        )
    if kind is torch.nn.Sigmoid:
        return Activation(
            lambda x, out: aten.sigmoid.out(x, out=out),
            lambda g, y, out: aten.sigmoid_backward.grad_input(g, y, grad_input=out),
            of_output=True,
        )
    if kind is torch.nn.ReLU:
        return Activation(
            lambda x, out: aten.clamp_min.out(x, 0, out=out),
            lambda g, y, out: aten.threshold_backward.grad_input(g, y, 0, grad_input=out),
            of_output=True,
        )
    if kind is torch.nn.LeakyReLU:
        slope = module.negative_slope
        return Activation(
            lambda x, out: aten.leaky_relu.out(x, slope, out=out),
            lambda g, x, out: aten.leaky_relu_backward.grad_input(g, x, slope, False, grad_input=out),
            of_output=False,
        )
    if kind is torch.nn.ELU:
        alpha = module.alpha
        return Activation(
            lambda x, out: aten.elu.out(x, alpha, 1, 1, out=out),
            lambda g, x, out: aten.elu_backward.grad_input(g, alpha, 1, 1, False, x, grad_input=out),
            of_output=False,
        )
    if kind is torch.nn.Softplus:
        how = module.beta, module.threshold
        return Activation(
            lambda x, out: aten.softplus.out(x, *how, out=out),
            lambda g, x, out: aten.softplus_backward.grad_input(g, x, *how, grad_input=out),
            of_output=False,
        )
    if kind is torch.nn.GELU:
        by = module.approximate
        return Activation(
            lambda x, out: aten.gelu.out(x, approximate=by, out=out),
            lambda g, x, out: aten.gelu_backward.grad_input(g, x, approximate=by, grad_input=out),
            of_output=False,
        )
    if kind is torch.nn.SiLU:
        return Activation(
            lambda x, out: aten.silu.out(x, out=out),
            lambda g, x, out: aten.silu_backward.grad_input(g, x, grad_input=out),
            of_output=False,
        )
    return None
