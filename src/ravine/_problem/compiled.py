"""The compiled kernel, in the order of sums that has torch's bits here: found by trial, as all orders are."""

from __future__ import annotations

import torch

from ravine._kernel.neuron import Neuron, Sums, make_neuron, orders_of_sums
from ravine._problem.order import Order, TorchValues, has_bits
from ravine._problem.parts import Parts

DRAWN = 64
"""Random positions at which an order of sums is tried."""


class Compiled:
    """The evaluation of a linear neuron by the kernel; positions are (parameters, runs)."""

    def __init__(self, neuron: Neuron, sums: Sums) -> None:
        self.neuron, self.sums = neuron, sums
        by = f"{'fused sums' if sums.fused else 'sums'}, compiled for {neuron.kernel.level}"
        self.order = Order("multiply, then add", by, equal=True)

    def __call__(self, position: torch.Tensor, losses: torch.Tensor, gradients: bool = True) -> torch.Tensor | None:
        """Evaluate positions."""
        found = torch.empty_like(position) if gradients else None
        weight, bias = position
        self.neuron.evaluate(self.sums, weight, bias, losses, found)
        return found


def choose_compiled(parts: Parts, values: TorchValues) -> Compiled | None:
    """Choose the first order of sums in which the kernel has torch's bits; None where there is none, or no kernel.

    Runs that come to rest bring few different numbers, and several orders may fit them: so an order must also have the
    bits of torch's own calls on random targets. Lanes of the kernel know nothing of each other, so that one trial
    serves all numbers of runs.
    """
    neuron = make_neuron(parts.inputs, parts.targets, parts.criterion)
    if neuron is None:
        return None
    with torch.no_grad():
        targets, drawn = _drawn_values(parts.inputs)
        twin = make_neuron(parts.inputs, targets, torch.nn.MSELoss())
        assert twin is not None
        for sums in orders_of_sums():
            found = Compiled(neuron, sums)
            if has_bits(Compiled(twin, sums), drawn, DRAWN) and has_bits(found, values, values.count):
                return found
    return None


def _drawn_values(inputs: torch.Tensor) -> tuple[torch.Tensor, TorchValues]:
    """Draw targets and positions, and return them with the squared error there and its gradient, product by product."""
    random = torch.Generator().manual_seed(0)
    x, share = inputs[:, 0].contiguous(), 1 / len(inputs)
    targets = torch.randn(len(x), generator=random, dtype=torch.float64).to(x)
    position = torch.randn(2, DRAWN, generator=random, dtype=torch.float64).to(x)
    residual = position[0][:, None] * x + position[1][:, None] - targets
    slopes = residual * (2 * share)
    by_weight = torch.cat([torch.mm(row[None].clone(), inputs)[0] for row in slopes])
    gradient = torch.stack([by_weight, slopes.sum(-1)])
    return targets, TorchValues(position, (residual * residual).mean(-1), gradient)
