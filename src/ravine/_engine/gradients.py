"""A problem's loss and gradient at many positions at once, for the engines that run many settings.

`WrittenOut` is a linear neuron's gradient written out, in the order of operations that has torch's own bits here;
`of_any` lets autograd do it for whatever `torch.func.vmap` can batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows

from ravine._problem.check_fit import scalar
from ravine._problem.compiled import Compiled, choose_compiled
from ravine._problem.criteria import residual_functions
from ravine._problem.neuron import is_neuron
from ravine._problem.order import (
    Evaluate,
    Order,
    TorchValues,
    backward_forms,
    choose_order,
    forward_forms,
)
from ravine._problem.problem import Problem

ALIGNED_BYTES = 64
"""Tensors begin at multiples of this, as torch makes them."""


class WrittenOut:
    """The evaluation of a linear neuron with an element-wise mean; use `written_out`, which knows where there is none.

    It is the compiled kernel's where that has the bits of `values`, which torch gave. Else forms of the sums are chosen
    by trial against these, for each number of runs that comes: so blocks of any size, and those of other processes,
    have one and the same bits. A process that unpacks it chooses anew, for it may have another processor.
    """

    def __init__(self, problem: Problem, values: TorchValues) -> None:
        self.problem, self.values = problem, values
        self._begin()

    def _begin(self) -> None:
        parts = self.problem.parts
        assert parts is not None
        self.inputs, self.targets = parts.inputs, parts.targets[:, 0].contiguous()
        functions = residual_functions(parts.criterion, self.targets)
        assert functions is not None
        self.losses_of, self.slopes_of = functions
        self.forward, self.backward = forward_forms(self.inputs), backward_forms(self.inputs)
        self.orders: dict[int, Order] = {}
        self.free: list[torch.Tensor] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"problem": self.problem, "values": self.values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __call__(self, position: torch.Tensor, losses: torch.Tensor, gradients: bool = True) -> torch.Tensor | None:
        """Evaluate positions (parameters, runs)."""
        if self.compiled is not None:
            return self.compiled(position, losses, gradients)
        order = self.order_of(position.shape[1])
        return self._evaluate(order.forward, order.backward, position, losses, gradients)

    @cached_property
    def compiled(self) -> Compiled | None:
        """The kernel, where it has torch's bits."""
        assert self.problem.parts is not None
        return choose_compiled(self.problem.parts, self.values)

    def order_of(self, runs: int) -> Order:
        """Return the forms for so many runs at once."""
        if self.compiled is not None:
            return self.compiled.order
        if runs not in self.orders:

            def by(forward: str, backward: str) -> Evaluate:
                return lambda position, losses, gradients: self._evaluate(
                    forward, backward, position, losses, gradients
                )

            self.orders[runs] = choose_order(by, self.values, self.inputs, runs)
        return self.orders[runs]

    def _evaluate(
        self, forward: str, backward: str, position: torch.Tensor, losses: torch.Tensor, gradients: bool
    ) -> torch.Tensor | None:
        runs = position.shape[1]
        if not self.free or len(self.free[0]) != runs:
            # used again and again: fresh pages cost more than the arithmetic
            self.free = [*self.inputs.new_empty(2, runs, len(self.inputs)), torch.empty_like(position)]
        residual, each, gradient = self.free
        self.forward[forward](position[:-1], position[-1], residual)
        torch.mean(self.losses_of(residual.sub_(self.targets), each), -1, out=losses)
        if not gradients:
            return None
        slopes = self.slopes_of(residual)
        self.backward[backward](slopes, gradient[:-1])
        torch.sum(slopes, -1, out=gradient[-1])
        return gradient


def is_written_out(problem: Problem) -> bool:
    """Tell whether a problem is a linear neuron whose gradient can be written out."""
    parts = problem.parts
    return parts is not None and is_neuron(problem) and residual_functions(parts.criterion, parts.targets) is not None


class Alone:
    """Runs of a linear neuron, their products by those calls that torch makes for a single run, without a graph.

    What is left, numbers one by one and sums along rows, is done for all at once. ``rows`` (runs, parameters) is where
    the runs are; whoever moves them writes into it.
    """

    def __init__(self, problem: Problem, starts: torch.Tensor) -> None:
        parts = problem.parts
        assert parts is not None
        self.inputs, self.column = parts.inputs, parts.targets[:, :1].contiguous()
        self.criterion = parts.criterion
        functions = residual_functions(parts.criterion, self.column[:, 0])
        assert functions is not None
        self.losses_of, self.slopes_of = functions
        runs, (samples, self.features) = len(starts), self.inputs.shape
        self.rows, self.residual = aligned_rows(starts), aligned_rows(starts.new_empty(runs, samples))
        self.each, self.gradients = starts.new_empty(runs, samples), torch.zeros_like(self.rows)
        # views of all rows at once: one by one they cost as much as the products
        self.weights, self.biases = self.rows[:, None, : self.features].unbind(), self.rows[:, self.features :].unbind()
        self.slopes = self.residual[:, None].unbind()

    @property
    def leaves(self) -> list[list[torch.Tensor]]:
        """The runs as an optimizer takes them: a tensor each."""
        return [[row] for row in self.rows.unbind()]

    def position(self) -> torch.Tensor:
        """Return where the runs are, (parameters, runs)."""
        return self.rows.T.clone()

    def evaluate(self, gradients: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the losses (runs,), and the gradients (runs, parameters) where they are wanted, written over."""
        with torch.no_grad():
            rows = zip(self.weights, self.biases, strict=True)
            predictions = torch.cat([F.linear(self.inputs, weight, bias) for weight, bias in rows])
            torch.sub(predictions.reshape(self.each.shape), self.column[:, 0], out=self.residual)
            losses = torch.mean(self.losses_of(self.residual, self.each), -1)
            if not gradients:
                return losses, None
            self.slopes_of(self.residual)  # which are written over it
            # written to its place by mm itself, a product may have other bits
            self.gradients[:, : self.features] = torch.cat([torch.mm(slope, self.inputs) for slope in self.slopes])
            torch.sum(self.residual, -1, out=self.gradients[:, self.features])
            return losses, self.gradients

    def on_batches(self, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses of batches of one size, one for each run, and the gradients (runs, parameters)."""
        with torch.no_grad():
            rows = zip(self.weights, self.biases, batches, strict=True)
            predictions = torch.stack([F.linear(x, weight, bias)[:, 0] for weight, bias, (x, _) in rows])
            targets = torch.stack([y[:, 0] for _, y in batches])
            functions = residual_functions(self.criterion, targets[0])
            assert functions is not None
            losses_of, slopes_of = functions
            residual = predictions.sub_(targets)
            losses = torch.mean(losses_of(residual, torch.empty_like(residual)), -1)
            slopes = slopes_of(residual)
            pairs = zip(aligned_rows(slopes)[:, None].unbind(), batches, strict=True)
            self.gradients[:, : self.features] = torch.cat([torch.mm(slope, x) for slope, (x, _) in pairs])
            torch.sum(slopes, -1, out=self.gradients[:, self.features])
            return losses, self.gradients

    def on_batches_at(
        self,
        position: torch.Tensor,
        losses: torch.Tensor,
        gradients: bool,
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Evaluate positions (parameters, runs) on inputs (runs, samples, features) and targets (runs, samples, 1)."""
        self.rows.copy_(position.T)
        # as a loader makes them: each a tensor of its own
        found, slopes = self.on_batches([(x.clone(), y.clone()) for x, y in zip(inputs, targets, strict=True)])
        losses.copy_(found)
        return slopes.T

    def at(self, position: torch.Tensor, losses: torch.Tensor, gradients: bool = True) -> torch.Tensor | None:
        """Evaluate positions (parameters, runs)."""
        self.rows.copy_(position.T)
        found, slopes = self.evaluate(gradients)
        losses.copy_(found)
        return None if slopes is None else slopes.T


def aligned_rows(numbers: torch.Tensor) -> torch.Tensor:
    """Return a copy whose rows begin where a tensor of their own would: products may hang on that."""
    step = ALIGNED_BYTES // numbers.element_size()
    held = numbers.new_empty(len(numbers), -(-numbers.shape[1] // step) * step)[:, : numbers.shape[1]]
    return held.copy_(numbers)


def rounding_of_neuron(problem: Problem, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how far two orders of operations may put losses (runs,) and gradients (parameters, runs) apart.

    A sum of n terms is off by at most n units of rounding of the sum of their sizes, whatever is left of it: near a
    minimum, little. A prediction is such a sum; the slope by it never falls as it grows, so its own room is that
    between both ends of the prediction's, kinks included.

    Examples
    --------
    >>> import ravine
    >>> neuron = ravine.gallery.article()["MSELoss"]
    >>> loss, gradient = rounding_of_neuron(neuron, torch.tensor([[6.0], [-3.0]]))
    >>> bool(loss < 1e-3), tuple(gradient.shape)
    (True, (2, 1))
    """
    parts = problem.parts
    assert parts is not None
    unit, count = torch.finfo(position.dtype).eps, len(parts.inputs)
    x, y = parts.inputs.double(), parts.targets[:, 0].double()
    functions = residual_functions(parts.criterion, y)
    assert functions is not None
    losses_of, slopes_of = functions
    weights, biases = position[:-1].double().T, position[-1].double()[:, None]
    residual = weights @ x.T + biases - y
    room = 2 * (x.shape[1] + 2) * unit * (weights.abs() @ x.abs().T + biases.abs() + y.abs())
    low, high = slopes_of(residual - room), slopes_of(residual + room)
    most, summed = torch.maximum(low.abs(), high.abs()), 2 * (count + 4) * unit
    apart = (high - low) + summed * most
    gradient = torch.cat([(apart @ x.abs()).T, apart.sum(-1)[None]])
    losses = losses_of(residual, torch.empty_like(residual)).abs().sum(-1) / count
    return (room * most).sum(-1) + summed * losses, gradient


def of_any(problem: Problem) -> Evaluate:
    """Return the evaluation by autograd: losses of all runs from one `torch.func.vmap`, one backward of their sum.

    It raises whatever vmap, or a parameter that the loss does not use, makes torch raise.
    """
    return by_autograd(problem, problem.loss)


def by_autograd(problem: Problem, loss: Callable[..., torch.Tensor]) -> Evaluate:
    """Return the same of a loss that takes more than parameters: what each run has of its own, runs first."""
    shapes = {name: tuple(value.shape) for name, value in problem.start.items()}
    sizes = [math.prod(shape) for shape in shapes.values()]
    batched = torch.func.vmap(lambda parameters, *own: scalar(loss(parameters, *own)).reshape(()))

    def evaluate(
        position: torch.Tensor, losses: torch.Tensor, gradients: bool = True, *own: torch.Tensor
    ) -> torch.Tensor | None:
        runs = position.shape[1]
        pieces = torch.split(position.T.contiguous(), sizes, dim=1)
        leaves = {
            name: piece.reshape(runs, *shape).requires_grad_(gradients)
            for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }
        with torch.set_grad_enabled(gradients):
            values = batched(leaves, *own)
            losses.copy_(values.detach())
            if not gradients:
                return None
            found = torch.autograd.grad(values.sum(), list(leaves.values()))
        gradient = torch.cat([each.reshape(runs, -1) for each in found], dim=1).T
        return gradient.contiguous() if position.is_contiguous() else gradient  # laid out as positions are

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
