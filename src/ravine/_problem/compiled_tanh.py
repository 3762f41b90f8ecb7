"""tanh of a private copy's layers by the compiled kernel: torch's bits, in half the time where its code is generic."""

from __future__ import annotations

import functools
from typing import Any

import torch

from ravine._kernel.layers import Tanh, make_tanh
from ravine._torch import plain_type

FEWEST = 4096
"""Numbers from which on it is worth the call."""

AT_ONCE = 1 << 15
"""Numbers of one call: they, their tanh and the kernel's lists stay in a close cache."""


def compile_tanh(model: torch.nn.Module) -> None:
    """Have the layers of a copy that are no more than `torch.nn.Tanh` call the kernel, where its tanh is torch's.

    For all that it does not know (other dtypes, devices and classes of tensors, gradients, graphs) they call torch.

    Examples
    --------
    >>> layer, numbers = torch.nn.Tanh(), torch.linspace(-4, 4, 5000)
    >>> compile_tanh(layer)
    >>> torch.equal(layer(numbers), torch.tanh(numbers))
    True
    """
    layers = [each for each in model.modules() if plain_type(each) is torch.nn.Tanh]
    tanh = make_tanh(torch.empty(0)) if layers else None
    if tanh is not None:
        for each in layers:
            vars(each)["forward"] = functools.partial(_forward, tanh)


def _forward(tanh: Tanh, input: Any) -> Any:  # called `input` in torch too
    if not _is_known(input):
        return torch.tanh(input)
    found = torch.empty_like(input)
    parts = (torch.split(each.view(-1), AT_ONCE) for each in (input, found))
    for given, out in zip(*parts, strict=True):
        tanh(given[None], out[None])
    return found


def _is_known(given: Any) -> bool:
    return (
        type(given) is torch.Tensor
        and given.dtype == torch.float32
        and given.device.type == "cpu"
        and given.layout == torch.strided
        and given.numel() >= FEWEST
        and given.is_contiguous()
        and not (given.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
        and not torch._C._functorch.peek_interpreter_stack()
    )
