"""Losses and gradients of many runs, each on a batch of its own, held against torch on batches of every size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ravine._descent.descend import random_state_kept
from ravine._engine.gradients import by_autograd
from ravine._problem.criteria import residual_functions
from ravine._problem.order import Evaluate, Order, TorchValues, backward_forms, choose_order, forward_forms
from ravine._problem.parts import loss_on
from ravine._problem.problem import Problem
from ravine._torch import one_thread

POSITIONS = 40
"""Positions at which torch is asked about batches of each size, at most."""


@dataclass(frozen=True)
class Trial:
    """The problem on the samples of a single batch, and torch's values there at some positions."""

    problem: Problem
    values: TorchValues

    @property
    def size(self) -> int:
        """Samples of the batch."""
        assert self.problem.parts is not None
        return len(self.problem.parts.inputs)

    def by(self, on_batches: Evaluate) -> Evaluate:
        """Return an evaluation on batches as one in which all runs have this batch."""
        parts = self.problem.parts
        assert parts is not None

        def evaluate(position: torch.Tensor, losses: torch.Tensor, gradients: bool = True) -> torch.Tensor | None:
            runs = position.shape[1]
            own = (each.expand(runs, *each.shape).contiguous() for each in (parts.inputs, parts.targets))
            return on_batches(position, losses, gradients, *own)

        return evaluate


def make_trials(problem: Problem, batch_size: int, position: torch.Tensor) -> list[Trial]:
    """Ask torch for its values on a batch, and on one of the size that is left over at the end of an epoch."""
    parts = problem.parts
    assert parts is not None
    samples, position = len(parts.inputs), position[:, :: -(-position.shape[1] // POSITIONS)]
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(0))
    made = []
    for size in dict.fromkeys((batch_size, samples % batch_size or batch_size)):
        rows = order[:size]
        batch = replace(parts, inputs=parts.inputs[rows], targets=parts.targets[rows], batches=None)
        part = problem.with_parts(batch)
        made.append(Trial(part, values_of(part, position)))
    return made


def values_of(problem: Problem, position: torch.Tensor) -> TorchValues:
    """Return the losses and gradients that torch's own backward pass gives at some positions, one after the other."""
    live = problem.live()
    leaves = list(live.leaves.values())
    sizes = [leaf.numel() for leaf in leaves]
    losses, gradients = [], []
    with random_state_kept([problem]), one_thread(), torch.enable_grad():
        for point in position.T:
            with torch.no_grad():
                for leaf, piece in zip(leaves, torch.split(point, sizes), strict=True):
                    leaf.copy_(piece.reshape(leaf.shape))
                    leaf.grad = None
            loss = live.loss().reshape(())
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach().clone())
            found = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
            gradients.append(torch.cat([each.reshape(-1) for each in found]))
    return TorchValues(position, torch.stack(losses), torch.stack(gradients, 1))


class NeuronOnBatches:
    """A linear neuron's gradient written out, in an order of operations that is found by trial for each size of batch.

    Called with positions (parameters, runs), where to write losses (runs,), whether gradients are wanted, and the
    samples of each run: inputs (runs, samples, features) and targets (runs, samples, 1).
    """

    def __init__(self, problem: Problem, trials: Sequence[Trial]) -> None:
        self.problem, self.trials = problem, trials
        self._begin()

    def _begin(self) -> None:
        self.orders: dict[tuple[int, int], Order] = {}
        self.functions: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"problem": self.problem, "trials": self.trials}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __call__(
        self,
        position: torch.Tensor,
        losses: torch.Tensor,
        gradients: bool,
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor | None:
        """Evaluate."""
        order = self.order_of(targets.shape[1], len(targets))
        return self._evaluate(order.forward, order.backward, position, losses, gradients, inputs, targets)

    def order_of(self, samples: int, runs: int) -> Order:
        """Return the forms for batches of some size in so many runs."""
        if (samples, runs) not in self.orders:
            trial = next(each for each in self.trials if each.size == samples)
            assert trial.problem.parts is not None

            def by(forward: str, backward: str) -> Evaluate:
                return trial.by(lambda *given: self._evaluate(forward, backward, *given))

            self.orders[samples, runs] = choose_order(by, trial.values, trial.problem.parts.inputs[None], runs)
        return self.orders[samples, runs]

    def _evaluate(
        self,
        forward: str,
        backward: str,
        position: torch.Tensor,
        losses: torch.Tensor,
        gradients: bool,
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor | None:
        runs, samples = targets.shape[:2]
        if samples not in self.functions:
            assert self.problem.parts is not None
            self.functions[samples] = residual_functions(self.problem.parts.criterion, targets[0])
        losses_of, slopes_of = self.functions[samples]
        residual, each = targets.new_empty(2, runs, samples)
        forward_forms(inputs)[forward](position[:-1], position[-1], residual)
        torch.mean(losses_of(residual.sub_(targets[..., 0]), each), -1, out=losses)
        if not gradients:
            return None
        slopes, gradient = slopes_of(residual), torch.empty_like(position)
        backward_forms(inputs)[backward](slopes, gradient[:-1])
        torch.sum(slopes, -1, out=gradient[-1])
        return gradient


def of_any_on_batches(problem: Problem) -> Evaluate:
    """Return the evaluation by autograd, called as `NeuronOnBatches` is."""
    parts = problem.parts
    assert parts is not None
    return by_autograd(problem, lambda parameters, inputs, targets: loss_on(parts, parameters, inputs, targets))
