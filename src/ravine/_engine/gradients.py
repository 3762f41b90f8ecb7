"""A problem's loss and gradient at many positions at once, for the engines that run many settings.

`of_neuron` writes the gradient of a linear neuron out, in the order of operations that keeps torch's own bits;
`of_any` lets autograd do it for whatever `torch.func.vmap` can batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows

from ravine._problem.criteria import elementwise
from ravine._problem.problem import Problem, is_neuron, scalar

Evaluate = Callable[..., torch.Tensor | None]
"""Takes positions (parameters, runs), where to write the losses (runs,), and whether gradients are wanted.

It returns them, (parameters, runs), and may use the same memory for them again at the next call."""

Losses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes residuals, and room of their shape that may be written to; returns the loss of each."""

Pull = Callable[[torch.Tensor], torch.Tensor]
"""Takes residuals and overwrites them with the slope of the mean loss by each prediction."""


def of_neuron(problem: Problem) -> Evaluate | None:
    """Return the evaluation of a linear neuron with an element-wise mean, None where the problem is none.

    Each operation here was chosen because its bits are torch's for one to four inputs: ``addcmul`` in the forward
    pass, ``mv`` or a product and a sum in the gradient, or ``2 * d / n`` are not.
    """
    parts = problem.parts
    if parts is None or not is_neuron(problem):
        return None
    x, y = parts.inputs, parts.targets[:, 0].contiguous()
    written = _written(parts.criterion, y)
    if written is None:
        return None
    losses_of, pull_of = written
    samples, features = x.shape
    column = x[:, 0].contiguous() if features == 1 else None
    room: list[torch.Tensor] = []

    def evaluate(position: torch.Tensor, losses: torch.Tensor, gradients: bool = True) -> torch.Tensor | None:
        runs = position.shape[1]
        if not room or len(room[0]) != runs:  # buffers are used again: fresh pages cost more than the arithmetic
            room[:] = [*x.new_empty(2, runs, samples), x.new_empty(features + 1, runs)]
        residual, each, gradient = room
        bias = position[features][:, None]
        if column is not None:
            torch.mul(position[0][:, None], column, out=residual).add_(bias)
        else:
            weights = position[:features].T[:, :, None]
            torch.add(torch.bmm(x.expand(runs, -1, -1), weights)[:, :, 0], bias, out=residual)
        torch.mean(losses_of(residual.sub_(y), each), -1, out=losses)
        if not gradients:
            return None
        pull = pull_of(residual)
        found = torch.bmm(pull[:, None, :], x.expand(runs, -1, -1))
        for feature in range(features):  # row by row: a transposed copy of so narrow a matrix is slow
            gradient[feature] = found[:, 0, feature]
        torch.sum(pull, -1, out=gradient[features])
        return gradient

    return evaluate


def _written(criterion: Any, targets: torch.Tensor) -> tuple[Losses, Pull] | None:
    """Return an element-wise criterion as functions of the residual, None where it is none of the four."""
    if elementwise(criterion) is None:
        return None
    kind, share, nothing = type(criterion), 1 / len(targets), targets.new_zeros(())
    if kind is torch.nn.MSELoss:
        return lambda d, room: torch.mul(d, d, out=room), lambda d: d.mul_(2 * share)
    if kind is torch.nn.L1Loss:
        return lambda d, room: torch.abs(d, out=room), lambda d: torch.sign(d, out=d).mul_(share)
    if kind is torch.nn.HuberLoss:
        return (
            lambda d, room: F.huber_loss(d, nothing.expand_as(d), reduction="none", delta=criterion.delta),
            lambda d: d.clamp_(-criterion.delta, criterion.delta).mul_(share),
        )
    if kind is torch.nn.SmoothL1Loss and criterion.beta > 0:
        return (
            lambda d, room: F.smooth_l1_loss(d, nothing.expand_as(d), reduction="none", beta=criterion.beta),
            lambda d: d.div_(criterion.beta).clamp_(-1, 1).mul_(share),
        )
    return None


def of_any(problem: Problem) -> Evaluate:
    """Return the evaluation by autograd: losses of all runs from one `torch.func.vmap`, one backward of their sum.

    It raises whatever vmap, or a parameter that the loss does not use, makes torch raise.
    """
    shapes = {name: tuple(value.shape) for name, value in problem.start.items()}
    sizes = [math.prod(shape) for shape in shapes.values()]
    batched = torch.func.vmap(lambda parameters: scalar(problem.loss(parameters)).reshape(()))

    def evaluate(position: torch.Tensor, losses: torch.Tensor, gradients: bool = True) -> torch.Tensor | None:
        runs = position.shape[1]
        pieces = torch.split(position.T.contiguous(), sizes, dim=1)
        leaves = {
            name: piece.reshape(runs, *shape).requires_grad_(gradients)
            for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }
        with torch.set_grad_enabled(gradients):
            values = batched(leaves)
            losses.copy_(values.detach())
            if not gradients:
                return None
            found = torch.autograd.grad(values.sum(), list(leaves.values()))
        return torch.cat([each.reshape(runs, -1) for each in found], dim=1).T.contiguous()

    return evaluate


def numbers_held(problem: Problem) -> int:
    """Return how many numbers autograd holds on to between the loss and the gradient of one run.

    Examples
    --------
    >>> import ravine
    >>> numbers_held(ravine.gallery.article()["MSELoss"])  # inputs, predictions and targets: 50 of each
    150
    """
    held: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        held[tensor.data_ptr()] = tensor.numel()
        return tensor

    leaves = {name: value.clone().requires_grad_() for name, value in problem.start.items()}
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _alive = problem.loss(leaves)  # while it lives no two of them share memory
    return sum(held.values())
